"""A folder of images, masks and a names file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...collection.names import NAMES_FILES, NO_CLASS, Names, find_names
from ...errors import InputError
from ...references.annotated import Pairs, pair_folder, read_coloured, read_values, unnamed
from ...sources import SUFFIXES
from .files import IGNORE, MOST_LABELS, Found, Remap, Sample, complain, no_folder, read_list

BACKGROUND = "background"


def find_folder(data: Path, split: str | None, names: Path | None) -> tuple[Found, tuple[str, ...], bool]:
    """The samples of a folder, its classes in the order of its names file, and whether it has a background.

    Images and masks are found and paired as for `freeda bank add-images` (`references.annotated`), but each
    image has one label map here. The names file (`collect.names`) gives each value or colour its class. A
    class called "background" is the last label; "void", "unlabeled" and the like do not count, nor do values
    0 and 255 without a name, or black.

    `split` is a folder SPLIT, folders SPLIT within those of images and masks, or a list SPLIT.txt of images.
    """
    if not data.is_dir():
        raise InputError(f"{no_folder(data)}; images/, masks/ and {NAMES_FILES[0]} are expected in it")
    pairs, chosen = _pairs(data, split)
    if not pairs.pictures:
        lacks = f": {_mask_of(pairs.without_mask[0], pairs)} is missing" if pairs.without_mask else ""
        raise InputError(f"{data}: no image has a mask, masks/NAME.png for images/NAME.jpg{lacks}")
    known = find_names([data / split, data] if split else [data], names)
    if known is None:
        raise InputError(
            f"{data}: has no names file that says which class each value of a mask is: {NAMES_FILES[0]} such "
            'as {"1": "cat"} is expected (or {"#ff0000": "cat"} for masks in colours)'
        )
    remap, classes, background = _labels(known)
    wrong = [f"{path}: has no mask {_mask_of(path, pairs)}" for path in pairs.without_mask if chosen(path)]
    wrong += [f"{path}: has no image in {pairs.images}" for path in pairs.without_image if chosen(path)]
    samples = []
    for picture in pairs.pictures:
        if not chosen(picture.image):
            continue
        (mask, word), *more = picture.masks
        if more:
            wrong.append(f"{more[0][0]}: there is {mask} too, two masks for {picture.image.name}: remove one")
        elif word is not None:
            wrong.append(
                f"{mask}: belongs to {picture.image} by its folder: a label map of all classes is needed"
            )
        samples.append(Sample(_bare(picture.name), picture.image, mask))
    complain(wrong)
    read = read_coloured if known.coloured else read_values
    return Found(tuple(samples), remap, read, str(known)), classes, background


def _pairs(data: Path, split: str | None) -> tuple[Pairs, Callable[[Path], bool]]:
    """Images with masks, and which files belong to the split."""
    if split is None:
        return pair_folder(data), lambda path: True
    if (data / split).is_dir():
        return pair_folder(data / split), lambda path: True
    whole = pair_folder(data)
    if (whole.images / split).is_dir():
        return pair_folder(data, whole.images / split, whole.masks / split), lambda path: True
    if not (data / f"{split}.txt").is_file():
        raise InputError(
            f"{data}: has no split {split!r}: a folder {split}, {whole.images / split} with "
            f"{whole.masks / split}, or a list {split}.txt is expected"
        )
    path, names = read_list([data / f"{split}.txt"])
    wanted = {_bare(name): name for name in names}
    there = {_key(p, whole) for p in (*(picture.image for picture in whole.pictures), *whole.without_mask)}
    complain(
        [
            f"{path}: lists {name}, but there is no such image"
            for key, name in wanted.items()
            if key not in there
        ]
    )
    return whole, lambda file: _key(file, whole) in wanted


def _mask_of(image: Path, pairs: Pairs) -> str:
    """The mask that an image lacks, for a message; people also keep masks as JPEG."""
    mask = pairs.masks / f"{_key(image, pairs)}.png"
    lossy = mask.with_suffix(image.suffix)
    if lossy == image or not lossy.is_file():
        return str(mask)
    return f"{mask} ({lossy.name} lies there: masks are PNGs, other formats do not keep values)"


def _key(path: Path, pairs: Pairs) -> str:
    """The name of an image or a mask within its folder, without its ending."""
    place = next((p for p in (pairs.images, pairs.masks) if p in path.parents), path.parent)
    return _bare(path.relative_to(place).as_posix())


def _bare(name: str) -> str:
    return Path(name).with_suffix("").as_posix() if Path(name).suffix.lower() in SUFFIXES else name


def _labels(known: Names) -> tuple[Remap, tuple[str, ...], bool]:
    """(value -> label, classes, whether there is a background)."""
    path = known.path
    classes = tuple(dict.fromkeys(name for name in known.values() if name not in NO_CLASS))
    background = BACKGROUND in known.values()
    if not classes:
        raise InputError(f"{path}: names no class besides {', '.join(sorted(set(known.values())))}")
    if len(classes) + background > MOST_LABELS:
        raise InputError(f"{path}: names {len(classes)} classes: at most {MOST_LABELS} labels can be counted")
    label = {name: i for i, name in enumerate(classes)}
    if background:
        label[BACKGROUND] = len(classes)
    labels = dict.fromkeys(unnamed(known), IGNORE)
    labels |= {value: label.get(name, IGNORE) for value, name in known.items()}
    what = "colour" if known.coloured else "value"
    expected = f'a {what} that {path.name} names ("void" for what does not count)'
    return Remap(labels, expected, known.show), classes, background
