"""Fields: each turns one entry of a record into numbers and back."""
