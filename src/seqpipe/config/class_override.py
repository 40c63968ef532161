"""Keys that an option gave to one class, where the user names another."""

from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf, open_dict

from seqpipe.config.key_names import SPECIAL
from seqpipe.config.schema import GIVEN_BY_THE_RUN, TAKEN_BY_THE_RUN
from seqpipe.config.signatures import TargetError, signature_of

TARGET = "._target_"


def drop_inherited(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Remove what a new class does not take from the keys that the option gave to the old one.

    `data.source._target_=...` replaces the class and leaves the keys written for the one before it.
    Those that the new class does not take, or of another type, are removed; what was typed stays.

    Args:
        cfg: the composed configuration, which is changed.
        overrides: what was typed, `data.source._target_=mine.Source`.
    """
    typed = {line.lstrip("+~").partition("=")[0] for line in overrides}
    for key in sorted(name.removesuffix(TARGET) for name in typed if name.endswith(TARGET)):
        node = OmegaConf.select(cfg, key)
        if not isinstance(node, DictConfig):
            continue
        kept = {*SPECIAL, *TAKEN_BY_THE_RUN.get(key, ())}
        kept |= set(GIVEN_BY_THE_RUN.get(key.partition(".")[0], ()))
        try:
            signature = signature_of(str(node.get("_target_")))
        except TargetError:  # reported where the values are checked
            continue
        written = OmegaConf.to_container(node, resolve=False)
        assert isinstance(written, dict)
        for name, value in {str(name): value for name, value in written.items()}.items():
            if name in kept or any(f"{one}.".startswith(f"{key}.{name}.") for one in typed):
                continue
            rule = signature.rules.get(name)
            unknown = name not in signature.rules and not signature.takes_any
            interpolated = isinstance(value, str) and "${" in value
            if unknown or not (rule is None or interpolated or rule.accepts(value)):
                with open_dict(node):
                    del node[name]
