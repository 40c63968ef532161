"""The named text sets, on the files that they were made for and on small ones of their shape."""

import pytest
from hydra.utils import instantiate

from seqpipe.build import build_data
from seqpipe.config.compose import compose
from seqpipe.config.validate import validate
from seqpipe.data.vocabulary import UNK

WIKITEXT = ["data.train=valid.txt", "data.valid=0.1", "data.test=test.txt"]


@pytest.fixture
def built(tmp_path):
    """The data that a command line makes, nothing kept."""

    def build(*overrides):
        cfg, choices = compose([*overrides, "data.cache=null"])
        validate(cfg, choices)
        return build_data(cfg)

    return build


def records(data, split):
    return list(getattr(data.source.read(), split))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "folder", "more", "sizes"),
    [
        ("sst2", "sentiment_sst2", [], (6920, 872, 1821)),
        ("sst5", "sentiment_sst5", [], (8544, 1101, 2210)),
        ("uci_sentences", "sentiment_uci_sentences", [], 3000),
        ("fine_food", "sentiment_finefood_stars", [], 1000),
        ("multi30k", "mt_multi30k", [], (29000, 1014, 1000)),
        (
            *("multi30k", "mt_multi30k"),
            ["data.from=en", "data.to=de", "data.test=test_2017_flickr"],
            (29000, 1014, 1000),
        ),
        ("names", "names_makemore", [], 29494),
        ("leipzig_news", "lm_news_leipzig", [], 6000),
        ("cmudict", "g2p_cmudict", [], 25176),
        ("cmudict", "g2p_cmudict", ["data.source.local.alternatives=keep"], 27034),
    ],
)
def test_a_named_set_holds_as_many_examples_as_its_files(shared_data, name, folder, more, sizes):
    cfg, choices = compose([f"data={name}", f"data.path={shared_data / folder}", *more])
    validate(cfg, choices)
    source, column = instantiate(cfg.data.source), (cfg.data.x or cfg.data.y).column
    source.keep_together([column])
    splits = source.read().by_name()
    texts = [[record[column] for record in part] for part in splits.values()]
    found = tuple(map(len, texts))
    assert (sum(found) if isinstance(sizes, int) else found) == sizes
    if isinstance(sizes, int):
        assert sum(len(set(part)) for part in texts) == len({t for part in texts for t in part})


@pytest.mark.realdata
def test_the_streams_hold_as_many_symbols_as_their_files(built, shared_data):
    data = built("data=tiny_shakespeare", f"data.path={shared_data / 'lm_tinyshakespeare'}")
    steps = [len(example.y) for split in data.sizes for example in data.examples(split)]
    assert sum(steps) == 1_115_394 + 3  # an <EOS> for each split
    assert data.spec.y.size == 65 + 4

    wiki = [f"data.path={shared_data / 'lm_wikitext2'}", *WIKITEXT]
    data = built("data=wikitext2", *wiki)
    texts = {split: " ".join(r["text"] for r in records(data, split)) for split in data.sizes}
    words = {split: text.split() for split, text in texts.items()}
    fitted = words["train"] + words["valid"]
    # Its README counts tokens without the line ends, of which valid.txt has 3,760.
    assert len(fitted) - fitted.count("<eos>") == 213_886
    assert fitted.count("<eos>") == 3_760
    assert len(words["test"]) - words["test"].count("<eos>") == 121_223


@pytest.mark.realdata
def test_the_unknown_symbol_of_wikitext_is_trained_and_the_only_one(built, shared_data):
    """valid.txt holds <unk> some 11,000 times; what only the other file holds is the same."""
    data = built("data=wikitext2", f"data.path={shared_data / 'lm_wikitext2'}", *WIKITEXT)
    train = " ".join(record["text"] for record in records(data, "train")).split()
    counts = data.counts("y")
    assert counts["train"][UNK] == train.count("<unk>") > 5_000
    assert [name for name in data.spec.y.names if "unk>" in name.lower()] == ["<unk>"]
    test = " ".join(record["text"] for record in records(data, "test")).split()
    known = set(train)
    strange = sum(token not in known for token in test)
    assert counts["test"][UNK] == test.count("<unk>") + strange
    assert data.y.encode({"text": "<unk> zyzzyva"}).tolist() == [UNK, UNK]


SMALL = {
    "imdb": {
        f"{split}/{label}/{n}_1.txt": f"{split} {label} {n}<br />words"
        for split in ("train", "test")
        for label in ("pos", "neg", "unsup")
        for n in range(20)
    },
    "ag_news": {
        f"{split}.csv": "\n".join(f'"{n % 4 + 1}","Title {n}","It ""said"" {n}"' for n in range(80))
        for split in ("train", "test")
    },
    "ptb": {
        f"ptb.{split}.txt": " a <unk> sentence \n the N one \n"
        for split in ("train", "valid", "test")
    },
    "wikitext2": {
        f"wiki.{split}.tokens": " \n = One = \n \n A @-@ b . \n = Two = \n c \n"
        for split in ("train", "valid", "test")
    },
    "iwslt14": {
        f"{split}.de-en.{language}": "ein Satz\nnoch einer\n"
        for split in ("train", "valid", "test")
        for language in ("de", "en")
    },
}


@pytest.mark.parametrize(
    ("name", "sizes", "first"),
    [
        ("imdb", (36, 4, 40), {"text": "train neg 0<br />words", "label": "neg"}),
        ("ag_news", (76, 4, 80), {"class": "1", "title+description": 'Title 0 It "said" 0'}),
        ("ptb", (1, 1, 1), {"text": "a <unk> sentence <eos>\nthe N one <eos>\n"}),
        ("wikitext2", (2, 2, 2), None),
        ("iwslt14", (2, 2, 2), {"de": "ein Satz", "en": "ein Satz"}),
    ],
)
def test_a_named_set_is_read_in_its_official_format(built, tmp_path, name, sizes, first):
    for file, content in SMALL[name].items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(content)
    data = built(f"data={name}", f"data.path={tmp_path}")
    assert tuple(len(records(data, split)) for split in data.sizes) == sizes
    assert first is None or first in list(records(data, "train"))
    assert all(name not in (data.spec.y.names or ())[4:] for name in ("<unk>", "<UNK>"))


@pytest.mark.parametrize(
    ("overrides", "content", "sizes"),
    [
        (["data=table", "data.x.column=review", "data.y.column=stars"], None, (8, 1, 1)),
        (["data=pairs"], "\n".join(f"x {n}\ty {n}" for n in range(10)), (8, 1, 1)),
        (["data=lines"], "\n".join(f"line {n}" for n in range(10)), (8, 1, 1)),
        (["data=labelled_lines"], "\n".join(f"{n % 2} line {n}" for n in range(10)), (8, 1, 1)),
        (["data=stream"], "\n".join(f"line {n}" for n in range(10)), (1, 1, 1)),
        (["data=documents", "data.source.blank_lines=true"], "\n\n".join("abcdefghij"), (8, 1, 1)),
        (["data=dictionary"], "\n".join(f"w{n} W {n}" for n in range(10)), (8, 1, 1)),
    ],
)
def test_a_file_of_the_users_own_is_read(built, tmp_path, overrides, content, sizes):
    table = "review,stars\n" + "\n".join(f"text {n},{n % 2}" for n in range(10))
    file = tmp_path / ("mine.csv" if content is None else "mine.txt")
    file.write_text(table if content is None else content)
    data = built(*overrides, f"data.path={file}")
    assert tuple(len(records(data, split)) for split in data.sizes) == sizes


def test_folders_and_parallel_files_of_the_users_own_are_read(built, tmp_path):
    for n in range(20):
        (tmp_path / f"{n % 2}").mkdir(exist_ok=True)
        (tmp_path / f"{n % 2}/{n}.txt").write_text(f"text {n}")
    assert built("data=class_folders", f"data.path={tmp_path}").sizes == {
        **{"train": 16, "valid": 2, "test": 2},
    }
    for language in ("fr", "it"):
        (tmp_path / f"train.{language}").write_text("\n".join(f"mot {n}" for n in range(10)))
    of = [f"data.path={tmp_path}", "data.x.column=fr", "data.y.column=it"]
    data = built("data=parallel", *of)
    assert data.sizes == {"train": 8, "valid": 1, "test": 1}
    assert set(records(data, "train")[0]) == {"fr", "it"}
