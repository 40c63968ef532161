"""Each rule of the configuration is written once: its message, and the bound of its key."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import seqpipe
from seqpipe.config.compose import compose
from seqpipe.config.config_view import Tree
from seqpipe.config.validate import rule_for
from seqpipe.data.base import FieldSpec
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.series import Series
from seqpipe.data.sources.digits import Digits
from seqpipe.errors import ConfigError
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.models.forcing import Linear
from seqpipe.models.inputs import InputLayer
from seqpipe.nn.cells import LSTM
from seqpipe.nn.head import Head
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transduction import Transduction

SRC = Path(seqpipe.__file__).parent
ROOMS = ("config", "data", "nn", "models", "tasks", "training", "diagnostics", "rules.py")
MESSAGES_OF_FILES = ("no such file in ", "no such folder in ", "cannot be ", "data.cache=")
RULES = {"whole", "real", "choice", "flag", "text", "list_of", "either", "or_null", "null"}


def _texts(source: str) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of every refusal, with {} for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        texts: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = {"refusal": 2, "Problem": 2, "ConfigError": 0, "because": 0}.get(name)
            texts = [] if place is None else node.args[place : place + 1]
        elif isinstance(node, ast.Assign):
            named = {getattr(target, "id", "") for target in node.targets} & {"text", "wrong"}
            texts = [node.value] if named else []
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            texts = node.value.elts[1:]
        for text in texts:
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            shown = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
            ).partition("; allowed")[0]
            if len(shown.replace("{}", "").strip()) > 12:
                yield node.lineno, shown.strip()


def _repeated(sources: dict[str, str]) -> dict[str, list[str]]:
    places = defaultdict(list)
    for name, source in sources.items():
        for line, text in _texts(source):
            places[text].append(f"{name}:{line}")
    return {
        text: found
        for text, found in places.items()
        if len(found) > 1 and not text.startswith(MESSAGES_OF_FILES)
    }


def _sources() -> dict[str, str]:
    files = [f for room in ROOMS for f in ((SRC / room).rglob("*.py") or [SRC / room])]
    return {f.relative_to(SRC).as_posix(): f.read_text(encoding="utf-8") for f in files}


def test_every_message_of_the_configuration_is_written_once():
    sources = _sources()
    assert sum(len(list(_texts(source))) for source in sources.values()) > 200
    assert _repeated(sources) == {}


def test_a_message_that_is_copied_is_found():
    copied = {"tasks/copy.py": "def again(x):\n    wrong = 'x and y cannot be cut together'\n"}
    (places,) = _repeated({**_sources(), **copied}).values()
    assert "tasks/copy.py:2" in places


def _fixed_bounds(source: str) -> Iterator[str]:
    """Rules made of constants alone that stand in a call of `require`, not in an annotation."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
            rule = node.args[2]
            names = {one.id for one in ast.walk(rule) if isinstance(one, ast.Name)}
            if names and names <= RULES:
                yield ast.unparse(node.args[0])


# Not of an argument: of each of several arguments, or of one part of one.
OF_SEVERAL = {
    "data/fields/frames.py": ["'data.x.channel_deviation'"],
}


def test_a_bound_of_constants_is_in_an_annotation():
    found = {name: [*_fixed_bounds(source)] for name, source in _sources().items()}
    assert {name: sorted(keys) for name, keys in found.items() if keys} == OF_SEVERAL
    assert [*_fixed_bounds("require('depth', depth, whole(1))")] == ["'depth'"]


def _names_in_rules_of_arguments() -> set[str]:
    """Arguments that a rule at a constructor judges: what functions called *_faults yield first."""
    found = set()
    for source in (text for file, text in _sources().items() if not file.startswith("config/")):
        functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
        for function in (f for f in functions if f.name.endswith("_faults")):
            for node in ast.walk(function):
                if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                    name = node.value.elts[0]
                    found |= {name.value} if isinstance(name, ast.Constant) else set()
                elif isinstance(node, ast.Dict):  # options judged in a loop over their names
                    found |= {k.value for k in node.keys if isinstance(k, ast.Constant)}
    return found


def _keys_read(source: str) -> set[str]:
    """The last part of every key that a rule of two options reads from a configuration."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    reading = [c for c in calls if getattr(c.func, "attr", "") in ("get", "raw", "has", "value")]
    texts = [a.value for c in reading for a in c.args if isinstance(a, ast.Constant)]
    return {text.rpartition(".")[2] for text in texts if isinstance(text, str)}


# A stack's direction also excludes data.bptt and an architecture without recurrence; bptt a CRF.
TWO_RULES = {"bidirectional", "bptt"}


def test_an_argument_with_a_rule_at_its_constructor_is_not_read_by_a_rule_of_two_options():
    names, source = _names_in_rules_of_arguments(), (SRC / "config/compatibility.py").read_text()
    assert names >= {"embedding_size", "characters", "freeze_vectors", "teacher_forcing", "longer"}
    assert names >= {"label_smoothing", "test", "beam_size", "dropout", "learn_initial_state"}
    assert names & _keys_read(source) <= TWO_RULES
    again = 'tree.get("architecture.embedding_size") is not None'
    assert names & _keys_read(source + f"\nif {again}:\n    pass\n") - TWO_RULES


STACK = partial(RecurrentStack, cell=LSTM, hidden_size=4)
BOTH_WAYS, LEARNING = partial(STACK, bidirectional=True), partial(STACK, learn_initial_state=True)
TRANSLATOR = partial(
    EncoderDecoder, x_kind="symbols", x_size=6, y_size=6, encoder=STACK, decoder=STACK, head=Head
)
TEXT = FieldSpec("symbols", 6)
TAGS = FieldSpec("tags", 3, names=("a", "b", "c"))
DATES = "data=dates architecture."
PROVOKED = [
    ("architecture.embedding_size=8", lambda: InputLayer("values", 6, embedding_size=8)),
    ("architecture.embedding_dropout=0.1", lambda: InputLayer("values", 6, embedding_dropout=0.1)),
    (f"{DATES}characters=cnn", lambda: InputLayer("symbols", 6, characters="cnn")),
    (f"{DATES}freeze_vectors=true", lambda: InputLayer("symbols", 6, freeze_vectors=True)),
    (f"{DATES}freeze_vectors=true", lambda: TRANSLATOR(freeze_vectors=True)),
    (f"{DATES}decoder.bidirectional=true", lambda: TRANSLATOR(decoder=BOTH_WAYS)),
    (f"{DATES}decoder.learn_initial_state=true", lambda: TRANSLATOR(decoder=LEARNING)),
    (
        f"{DATES}teacher_forcing=0 architecture.teacher_forcing_decay=linear",
        lambda: TRANSLATOR(teacher_forcing=0.0, teacher_forcing_decay=Linear()),
    ),
    (
        f"{DATES}teacher_forcing=0.5 architecture.teacher_forcing_decay=linear "
        "architecture.teacher_forcing_decay.end=0.5",
        lambda: TRANSLATOR(teacher_forcing=0.5, teacher_forcing_decay=Linear(end=0.5)),
    ),
    (
        "data=copy_memory architecture.head=crf task.label_smoothing=0.1",
        lambda: Tagging(y=TAGS, crf=True, label_smoothing=0.1),
    ),
    ("data=dates task.beam_size=5", lambda: Transduction(y=TEXT, longest_y=4, beam_size=5)),
    ("data.source.valid=0.5 data.source.test=0.5", lambda: Digits(valid=0.5, test=0.5)),
    ("data.source.test=1.5", lambda: Digits(test=1.5)),
    ("data.longer=drop", lambda: SequenceData(Digits(), Category("digit"), longer="drop")),
    (
        "data.window=3",
        lambda: SequenceData(Digits(), Category("digit"), Series("image"), window=3),
    ),
    ("dropout=1.5", lambda: STACK(3, dropout=1.5)),
]


@pytest.mark.parametrize(("typed", "make"), PROVOKED, ids=[typed for typed, _ in PROVOKED])
def test_the_command_line_and_python_are_refused_in_the_same_words(typed, make):
    with pytest.raises(ConfigError) as typing:
        compose(typed.split())
    with pytest.raises(ConfigError) as making:
        make()
    words = [error.value.problems[0].partition(": ")[2] for error in (typing, making)]
    assert words[0] == words[1]


@pytest.mark.parametrize(
    "typed", [["data=digits"], ["data=dates"], ["data=python_docs"], ["data=table", "data.path=x"]]
)
def test_no_key_that_a_class_of_ours_takes_has_a_rule_in_the_schema(typed):
    tree = Tree(compose(typed)[0])
    twice = []
    for key, _ in tree.leaves():
        parent = key.rpartition(".")[0]
        target = "seqpipe." if parent == "data" else str(tree.get(f"{parent}._target_"))
        if target.startswith("seqpipe.") and not key.startswith("callbacks.") and rule_for(key):
            twice.append(key)
    assert [key for key in twice if key != "data.path"] == []
