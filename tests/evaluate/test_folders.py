"""Folders of images by class: classes, splits, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate.folders import Listing, read_folder, stratified_split


def make_folder(folder: Path, **classes: int) -> Path:
    """A folder with so many (empty) images of each class; listing opens none of them."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{name}_{number}.jpg").touch()
    return folder


def names(listing: Listing, split: int) -> set[str]:
    return {path.stem for path, number in zip(listing.paths, listing.split, strict=True) if number == split}


def test_subfolders_are_classes_and_other_files_are_passed_over(tmp_path: Path) -> None:
    make_folder(tmp_path, forest=5, crop=4)
    (tmp_path / "README.md").touch()
    (tmp_path / "forest" / "notes.txt").touch()
    (tmp_path / ".cache").mkdir()
    listing = read_folder(tmp_path)
    assert listing.classes == ("crop", "forest")
    assert [path.parent.name for path in listing.paths] == ["crop"] * 4 + ["forest"] * 5
    np.testing.assert_array_equal(listing.labels, [0] * 4 + [1] * 5)


def test_the_random_split_is_stratified_and_depends_on_the_seed_only(tmp_path: Path) -> None:
    make_folder(tmp_path, a=20, b=10, c=3)
    listing = read_folder(tmp_path)
    for label, counts in enumerate([(12, 4, 4), (6, 2, 2), (1, 1, 1)]):
        of_class = listing.split[listing.labels == label]
        assert tuple((of_class == number).sum() for number in range(3)) == counts
    np.testing.assert_array_equal(listing.split, read_folder(tmp_path).split)
    assert not np.array_equal(listing.split, read_folder(tmp_path, seed=1).split)


def test_another_class_leaves_the_split_of_the_first_ones_as_it_is(tmp_path: Path) -> None:
    first = read_folder(make_folder(tmp_path, a=20, b=10)).split
    second = read_folder(make_folder(tmp_path, z=9)).split
    np.testing.assert_array_equal(first, second[:30])


def test_a_split_file_names_images_with_or_without_class_and_ending(tmp_path: Path) -> None:
    make_folder(tmp_path, a=3, b=3)
    split = {"train": ["a_0.tif", "b/b_0.jpg"], "val": ["a_1", "b/b_1"], "test": ["a/a_2.png", "b_2.jpg", "c_9.jpg"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    listing = read_folder(tmp_path)
    assert [names(listing, number) for number in range(3)] == [{"a_0", "b_0"}, {"a_1", "b_1"}, {"a_2", "b_2"}]
    assert listing.left_out == {"in_no_split": 0, "listed_but_absent": 1}


def test_without_val_a_fifth_of_training_chooses(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", a=12, b=12)
    split = {"train": [f"{c}_{n}" for c in "ab" for n in range(10)], "test": ["a_10", "b_10"]}
    file = tmp_path / "published.json"
    file.write_text(json.dumps(split))
    listing = read_folder(tmp_path / "images", split_file=file)
    assert [len(names(listing, number)) for number in range(3)] == [16, 4, 2]
    assert {name[0] for name in names(listing, 1)} == {"a", "b"}
    assert listing.left_out == {"in_no_split": 2, "listed_but_absent": 0}


def test_train_and_test_subfolders_are_a_split(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", a=10, b=10)
    make_folder(tmp_path / "test", a=3, b=4)
    listing = read_folder(tmp_path)
    assert listing.classes == ("a", "b")
    assert [(listing.split == number).sum() for number in range(3)] == [16, 4, 7]
    make_folder(tmp_path / "validation", a=1, b=1)
    assert [(read_folder(tmp_path).split == number).sum() for number in range(3)] == [20, 2, 7]


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has one class \(only\)") as caught:
        read_folder(make_folder(tmp_path, only=5))
    assert caught.value.where == str(tmp_path)
    assert "at least two" in caught.value.hint


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no class"):
        read_folder(tmp_path)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="class 'b' has no image") as caught:
        read_folder(make_folder(tmp_path, a=5, b=0))
    assert caught.value.where == str(tmp_path)
    assert ".tif" in caught.value.hint


def test_a_class_too_small_to_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="class 'b' has 2 images, too few") as caught:
        read_folder(make_folder(tmp_path, a=5, b=2))
    assert "at least 3" in caught.value.hint


def test_a_class_without_training_image_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, a=3, b=3)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a_0"], "val": ["b_0"], "test": ["a_1", "b_1"]}))
    with pytest.raises(InputError, match="class 'b' has no training image") as caught:
        read_folder(tmp_path)
    assert caught.value.where.endswith("split.json")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "is not JSON"),
        ("[]", "is no split"),
        ('{"train": ["a_0"]}', "is no split"),
        ('{"train": "a_0", "test": ["a_1"]}', "is no split"),
        ('{"train": ["a_0"], "test": ["x"]}', "none of the 6 images is listed under 'test'"),
        ('{"train": ["a_0", "b_0"], "test": ["a_0"]}', "image 'a_0' is in two splits"),
    ],
)
def test_a_split_file_that_is_none_is_refused(tmp_path: Path, content: str, what: str) -> None:
    make_folder(tmp_path, a=3, b=3)
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(InputError, match=what) as caught:
        read_folder(tmp_path)
    assert caught.value.where.endswith("split.json")


def test_a_name_in_two_classes_must_be_listed_with_its_class(tmp_path: Path) -> None:
    for name in "ab":
        make_folder(tmp_path, **{name: 3})
        (tmp_path / name / "1.jpg").touch()
    (tmp_path / "split.json").write_text(json.dumps({"train": ["1"], "test": ["a_0"]}))
    with pytest.raises(InputError, match="name '1' is in several classes") as caught:
        read_folder(tmp_path)
    assert "CLASS/NAME" in caught.value.hint


def test_a_split_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, a=3, b=3)
    with pytest.raises(InputError, match="no such file") as caught:
        read_folder(tmp_path, split_file=tmp_path / "none.json")
    assert caught.value.where == str(tmp_path / "none.json")


def test_shares_hold_for_large_classes() -> None:
    split = stratified_split(np.zeros(1000, np.int64), ["a"], seed=0, where="here")
    assert [(split == number).sum() for number in range(3)] == [600, 200, 200]
