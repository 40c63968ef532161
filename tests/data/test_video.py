import numpy as np
import pytest
from PIL import Image

from seqpipe.data.hashing import digest
from seqpipe.data.sources.video import FrameFolders, Video, listed
from seqpipe.errors import ConfigError, DataError
from small_files import in_every_split


@pytest.fixture(scope="session")
def video():
    """video(file, shades): write a clip whose frames are of one shade of grey each, 0..255."""
    av = pytest.importorskip("av")

    def write(file, shades, *, codec="mpeg4", rate=10, sound=False):
        file.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(file), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.bit_rate = 4_000_000
            audio = container.add_stream("mp2", rate=32000) if sound else None
            for shade in shades:
                picture = np.full((48, 64, 3), shade, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
            if audio is not None:
                silence = np.zeros((1, 1152), dtype=np.int16)
                frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
                frame.sample_rate = 32000
                container.mux(audio.encode(frame))
                container.mux(audio.encode())
        return file

    return write


@pytest.fixture
def pictures():
    """pictures(folder, shades): write a picture of each shade, frame1.png, frame2.png, ..."""

    def write(folder, shades, *, ending=".png", size=(8, 6)):
        folder.mkdir(parents=True, exist_ok=True)
        for number, shade in enumerate(shades, 1):
            Image.new("L", size, shade).save(folder / f"frame{number}{ending}")
        return folder

    return write


def shades(record):
    return record["frames"].reshape(len(record["frames"]), -1).mean(axis=1)


def records(source, split="train"):
    return list(source.read().by_name()[split])


def everything(source):
    return [one for split in source.read().by_name().values() for one in split]


RAMP = tuple(range(0, 240, 24))  # ten frames


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mkv", {}),
        ("clip.mp4", {}),
        ("clip.avi", {}),
        ("clip.avi", {"sound": True}),
        ("clip.mkv", {"sound": True}),
        ("clip.mpg", {"codec": "mpeg1video", "rate": 25, "sound": True}),
        ("clip.MPEG", {"codec": "mpeg2video", "rate": 25}),
    ],
)
def test_every_frame_of_any_format_is_read_in_its_order(tmp_path, video, name, options):
    file = video(tmp_path / name, RAMP, **options)
    (record,) = records(in_every_split(Video, tmp_path, name, height=3, width=4))
    assert record["frames"].shape == (10, 3, 4)
    assert record["frames"].dtype == np.uint8
    assert np.abs(shades(record) - RAMP).max() < 5
    assert (record["name"], record["folder"], record["piece"]) == ("clip", tmp_path.name, 0)
    assert (record["file"], record.place) == (name, str(file))


def test_frames_keep_their_colors_where_these_are_asked_for(tmp_path, video):
    video(tmp_path / "a.mkv", [(200, 0, 0), (0, 0, 200)])
    (record,) = records(in_every_split(Video, tmp_path, "a.mkv", color="rgb"))
    assert record["frames"].shape == (2, 24, 32, 3)
    assert record["frames"][:, 0, 0].argmax(axis=1).tolist() == [0, 2]


def one(tmp_path, **options):
    source = in_every_split(Video, tmp_path, "a.mkv", **options)
    (record,) = records(source)
    return (shades(record) / 24).round().astype(int).tolist()


def test_frames_are_chosen_by_time_by_number_or_not_at_all(tmp_path, video):
    video(tmp_path / "a.mkv", RAMP)  # ten frames a second
    assert one(tmp_path) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert one(tmp_path, frames_per_second=5) == [0, 2, 4, 6, 8]
    assert one(tmp_path, frames_per_second=20)[:6] == [0, 1, 1, 2, 2, 3]
    assert one(tmp_path, frames_per_second=2.5) == [0, 4, 8]
    assert one(tmp_path, frames=5) == [1, 3, 5, 7, 9]
    assert one(tmp_path, frames=1) == [5]
    assert one(tmp_path, frames=100) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert one(tmp_path, max_seconds=0.35) == [0, 1, 2, 3]
    assert one(tmp_path, max_seconds=0.5, frames_per_second=5) == [0, 2, 4]


def test_reading_twice_is_the_same_to_the_last_pixel(tmp_path, video):
    video(tmp_path / "a.mkv", RAMP, sound=True)
    one, other = (in_every_split(Video, tmp_path, "a.mkv", frames_per_second=4) for _ in range(2))
    assert digest(records(one)) == digest(records(one)) == digest(records(other))


def test_a_clip_is_decoded_once_while_there_is_room(tmp_path, video, monkeypatch):
    video(tmp_path / "a.mkv", RAMP)  # 10 x 24 x 32 bytes
    decoded = []
    plain = Video.frames_of
    monkeypatch.setattr(
        Video, "frames_of", lambda self, clip: (decoded.append(clip), plain(self, clip))[1]
    )
    for room, times in ((7680, 1), (7679, 3)):
        monkeypatch.setattr("seqpipe.data.sources.video._MOST_KEPT", room)
        source = in_every_split(Video, tmp_path, "a.mkv")
        decoded.clear()
        assert len({digest(split) for split in source.read().by_name().values()}) == 1
        assert len(decoded) == times


def test_labels_are_folders_or_groups_of_a_pattern(tmp_path, video):
    for number, name in enumerate(["run/ann_01.mkv", "run/bob_02.mkv", "sit/ann_03.mkv"]):
        video(tmp_path / name, [number * 60])
    (tmp_path / "notes.txt").write_text("not a video\n")
    source = in_every_split(Video, tmp_path, ".", pattern=r"(?P<who>[a-z]+)_(?P<take>\d+)")
    found = [(r["folder"], r["who"], r["take"]) for r in records(source)]
    assert found == [("run", "ann", "01"), ("run", "bob", "02"), ("sit", "ann", "03")]


def test_labels_may_stand_in_a_table_which_chooses_the_clips(tmp_path, video):
    for name in ("a.mkv", "b.mkv", "unused.mkv"):
        video(tmp_path / "clips" / name, [50])
    (tmp_path / "train.csv").write_text('file,label\nclips/b.mkv,"to eat, quickly"\n')
    (tmp_path / "test.tsv").write_text("label\tfile\n\nsleep\tclips/a.mkv\n")
    source = Video(train="train.csv", valid="train.csv", test="test.tsv", path=str(tmp_path))
    (train,), (test,) = records(source), records(source, "test")
    assert (train["file"], train["label"]) == ("clips/b.mkv", "to eat, quickly")
    assert (test["file"], test["label"]) == ("clips/a.mkv", "sleep")
    names = [file.relative_to(tmp_path).as_posix() for file in source.inputs()]
    assert names == ["train.csv", "clips/b.mkv"] * 2 + ["test.tsv", "clips/a.mkv"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "{file}: is empty; allowed: a header, and rows below it"),
        (
            "files,label\n",
            "{file}:1: has no column 'file'; it has files, label; did you mean 'files'?",
        ),
        (
            "file,name\n",
            "{file}:1: column name is a column of every record; allowed: another name",
        ),
    ],
)
def test_a_table_without_its_header_is_refused(tmp_path, table, message):
    file = tmp_path / "labels.csv"
    file.write_text(table)
    with pytest.raises(DataError) as error:
        list(listed(file, "utf-8"))
    assert str(error.value) == message.format(file=file)


def test_a_bad_row_of_a_table_stands_in_the_place_of_its_record(tmp_path, video):
    video(tmp_path / "one.mkv", [9])
    (tmp_path / "bad.mkv").write_bytes(b"nothing of the kind" * 50)
    table = tmp_path / "t.csv"
    rows = [b"file,label", b"one.mkv,x", b"two.mkv,y", b"one.mkv", b"one.mkv,\xff", b"bad.mkv,z"]
    table.write_bytes(b"\n".join(rows))
    found = records(in_every_split(Video, tmp_path, "t.csv"))
    assert found[0]["label"] == "x"
    assert [str(error) for error in found[1:]] == [
        f"{table}:3: file=two.mkv: no such file in {tmp_path}; it holds bad.mkv, one.mkv, t.csv; "
        "allowed: a name as from the folder of the table; did you mean 'one.mkv'?",
        f"{table}:4: 1 cell, the header has 2; allowed: 2 cells",
        f"{table}:5: byte 0xff at column 9 is not utf-8; allowed: data.source.encoding=latin-1, "
        "cp1252, ... as the file was written",
        f"{table}:6: {tmp_path / 'bad.mkv'}: cannot be read as video (Invalid data found when "
        "processing input); allowed: a whole video file",
    ]


def test_what_is_no_video_is_named_and_the_others_are_read(tmp_path, video):
    av = pytest.importorskip("av")
    video(tmp_path / "a.mkv", [100])
    (tmp_path / "b.mkv").write_bytes(b"")
    with av.open(str(tmp_path / "c.mkv"), "w") as container:  # sound only
        stream = container.add_stream("mp2", rate=32000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1152), dtype=np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = 32000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    good, empty, sound = records(
        Video(train="*.mkv", valid="a.mkv", test="a.mkv", path=str(tmp_path))
    )
    assert good["name"] == "a"
    assert str(empty).startswith(f"{tmp_path / 'b.mkv'}: cannot be read as video (")
    assert str(sound) == (
        f"{tmp_path / 'c.mkv'}: no video stream in it, only audio; allowed: a video file"
    )


def test_a_clip_that_breaks_off_says_after_how_many_frames(tmp_path, video, monkeypatch):
    av = pytest.importorskip("av")
    video(tmp_path / "a.mkv", RAMP)
    source = in_every_split(Video, tmp_path, "a.mkv")
    chosen = source._chosen

    def breaking(clip, container):
        for number, frame in enumerate(chosen(clip, container)):
            if number == 4:
                raise av.error.InvalidDataError(1094995529, "Invalid data found")
            yield frame

    monkeypatch.setattr(source, "_chosen", breaking)
    (error,) = records(source)
    assert str(error) == (
        f"{tmp_path / 'a.mkv'}: after 4 frames cannot be read as video (Invalid data found); "
        "allowed: a whole video file"
    )


def test_a_name_that_does_not_match_the_pattern_is_told(tmp_path, video):
    video(tmp_path / "walk.mkv", [0])
    source = in_every_split(
        Video,
        tmp_path,
        "walk.mkv",
        pattern=r"(?P<n>\d+)",
    )
    (error,) = records(source)
    assert str(error) == (
        f"{tmp_path / 'walk.mkv'}: 'walk' does not match data.source.pattern=(?P<n>\\d+); "
        "allowed: a pattern for the whole name"
    )


def test_pieces_of_a_clip_stay_together_unless_the_user_parts_them(tmp_path, video):
    for number in range(10):
        video(tmp_path / f"{number}.mkv", [number * 20 + step for step in range(5)])
    options = {"path": str(tmp_path), "valid": 0.2, "test": 0.2, "pieces": 5}
    together = Video(train=".", **options)
    together.keep_together(["frames"])
    parts = [{r["file"] for r in split} for split in together.read().by_name().values()]
    assert [len(part) for part in parts] == [6, 2, 2]
    assert len(set.union(*parts)) == 10
    parted = Video(train=".", **options, group=["file", "piece"], stratify="name", order="file")
    parted.keep_together(["frames"])
    pieces = [[r["piece"] for r in split] for split in parted.read().by_name().values()]
    assert pieces == [[0, 1, 2] * 10, [3] * 10, [4] * 10]


def test_more_pieces_than_frames_are_refused(tmp_path, video):
    video(tmp_path / "a.mkv", RAMP[:3])
    (error,) = records(in_every_split(Video, tmp_path, "a.mkv", pieces=4))
    assert str(error) == (
        f"{tmp_path / 'a.mkv'}: has 3 frames, too few for data.source.pieces=4; allowed: at most 3"
    )


def test_two_ways_to_choose_frames_are_refused():
    with pytest.raises(ConfigError) as error:
        Video(train="a.mkv", frames=5, frames_per_second=2.0)
    assert str(error.value) == (
        "data.source.frames_per_second=2.0 data.source.frames=5: two ways to choose frames; "
        "allowed: one of them null"
    )


def test_each_folder_of_pictures_is_a_clip_sorted_as_people_count(tmp_path, pictures):
    pictures(tmp_path / "run" / "clip1", range(12))
    pictures(tmp_path / "run" / "clip2.v1", [200], ending=".jpg", size=(16, 16))
    pictures(tmp_path / "sit" / "clip3", [7])
    source = in_every_split(FrameFolders, tmp_path, ".", height=6, width=8)
    run, long, sit = records(source)
    assert shades(run).tolist() == list(range(12))  # frame2 before frame10
    assert run["frames"].shape == (12, 6, 8)
    assert [(r["folder"], r["name"]) for r in (run, long, sit)] == [
        *(("run", "clip1"), ("run", "clip2.v1"), ("sit", "clip3")),
    ]
    assert len(source.inputs()) == 3 * 14
    assert [f.name for f in source.inputs()[:3]] == ["frame1.png", "frame2.png", "frame3.png"]


def test_pictures_are_chosen_one_of_so_many_then_evenly(tmp_path, pictures):
    pictures(tmp_path / "a", range(12))
    chosen = {"every": 2}, {"frames": 3}, {"every": 2, "frames": 3}
    found = [records(in_every_split(FrameFolders, tmp_path, "a", **o))[0] for o in chosen]
    assert [shades(record).tolist() for record in found] == [
        [0, 2, 4, 6, 8, 10],
        [2, 6, 10],
        [2, 6, 10],
    ]


def test_folders_of_pictures_may_be_listed_in_a_table(tmp_path, pictures):
    pictures(tmp_path / "a", [1, 2])
    pictures(tmp_path / "b", [3])
    (tmp_path / "c").mkdir()
    (tmp_path / "t.csv").write_text("file,label\nb,x\na,y\nc,z\n")
    source = in_every_split(FrameFolders, tmp_path, "t.csv", color="rgb")
    b, a, empty = records(source)
    assert (b["label"], a["label"]) == ("x", "y")
    assert a["frames"].shape == (2, 24, 32, 3)
    assert str(empty) == (
        f"{tmp_path / 't.csv'}:4: {tmp_path / 'c'}: holds no pictures; allowed: a folder with "
        "*.png, *.jpg, *.jpeg, *.bmp"
    )


def test_broken_and_deep_pictures_are_named(tmp_path, pictures):
    pictures(tmp_path / "a", [1, 2])
    good = (tmp_path / "a" / "frame2.png").read_bytes()
    (tmp_path / "a" / "frame2.png").write_bytes(good[: len(good) // 2])
    pictures(tmp_path / "b", [1])
    Image.new("I;16", (4, 4), 900).save(tmp_path / "b" / "frame2.png")
    broken, deep = records(in_every_split(FrameFolders, tmp_path, "."))
    assert str(broken).startswith(f"{tmp_path / 'a' / 'frame2.png'}: cannot be read as a picture (")
    assert str(broken).endswith("; allowed: a whole picture")
    assert str(deep) == (
        f"{tmp_path / 'b' / 'frame2.png'}: has pixels of kind I;16; allowed: 8 bits per color"
    )


@pytest.mark.realdata
def test_the_gesture_clips_have_the_frames_their_readme_counts(shared_data):
    source = Video(
        train="*.mkv", valid="*.mkv", test="*.mkv", path=str(shared_data / "video_asl_gestures")
    )
    found = records(source)
    assert [r["name"] for r in found] == [
        "bird",
        "eat",
        "hungry",
        "milk",
        "no",
        "thanks",
        "want",
        "yes",
    ]
    assert [len(r["frames"]) for r in found] == [63, 47, 49, 51, 66, 51, 47, 65]
    assert all(r["frames"].std() > 10 for r in found)
