"""How one entry of a record becomes numbers, and numbers an entry again."""
