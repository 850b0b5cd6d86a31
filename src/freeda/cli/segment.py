"""`freeda segment` and `freeda name`, and `freeda export`, which makes files of what they kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer import Argument, Option

from ..errors import InputError
from ..files import Written
from ..options import VOCABULARY, export_kinds, parse_settings
from ..options.checks import require
from ..presets import DEFAULT, SUPERPIXELS, drawing_with, find_preset, with_models
from ..profile import Clock
from ..sources import find_images
from .base import print_table, say, say_error, tell_trained
from .options import (
    KINDS,
    Again,
    BankOrOwn,
    BatchSize,
    Classes,
    ClassesFile,
    Dataset,
    Device,
    Draw,
    Dtype,
    Explain,
    Export,
    Images,
    Index,
    K,
    Model,
    Npz,
    Photographs,
    Profile,
    Prompts,
    Recursive,
    Regions,
    Results,
    Strict,
    Taught,
    Vocabularies,
    Yes,
    change,
    fetch_first,
    listed,
    new_sets,
    open_bank,
    read_names,
)
from .show import ROWS, Bars, add_row, explained, profile_table, read_points

if TYPE_CHECKING:
    from ..model import FreeDA
    from ..segment import Vocabulary
    from ..segment.naming import Namer

_NO_PHOTOGRAPHS = "name the photographs: files, folders or patterns such as 'photos/*.jpg'"


def segment(
    images: Photographs = None,
    classes: Classes = None,
    classes_file: ClassesFile = None,
    vocabulary: Vocabularies = None,
    save_vocabulary: Annotated[
        Path | None, Option(help="Keep the words, made ready, in a .npz file.")
    ] = None,
    others: Annotated[
        str | None, Option(help='Name of an extra label for all the rest: "everything else".')
    ] = None,
    model: Model = DEFAULT,
    bank: Annotated[
        Path | None,
        Option(
            help="Bank directory; default: the preset's own, else what was grown for your words, else none."
        ),
    ] = None,
    grow: Annotated[
        bool,
        Option(
            "--grow/--no-grow",
            help="Draw references for words that the bank hardly knows, or for all where there is no bank.",
        ),
    ] = False,
    taught: Taught = None,
    yes: Yes = False,
    regions: Regions = None,
    images_per_word: Images = None,
    prompts: Prompts = None,
    draw: Draw = None,
    out: Results = Path("out"),
    device: Device = "auto",
    dtype: Dtype = None,
    k: K = None,
    local_weight: Annotated[float | None, Option(help="Share of local similarity, 0 to 1.")] = None,
    background: Annotated[
        str | None, Option(help="none, constant, local or local-of-winner: an extra label.")
    ] = None,
    background_threshold: Annotated[float | None, Option(help="Score under which it wins.")] = None,
    settings: Annotated[
        list[str] | None,
        Option("--set", help="Any other option: --set prototypes=k-means --set superpixels.scale=50."),
    ] = None,
    recursive: Recursive = False,
    strict: Strict = False,
    again: Again = False,
    npz: Npz = False,
    export: Export = None,
    dataset: Dataset = None,
    explain: Explain = None,
    batch_size: BatchSize = None,
    index: Index = "exact",
    profile: Profile = False,
) -> None:
    """Label every pixel of photographs with one of your words.

    Writes STEM.labels.png (palette), STEM.overlay.jpg (with legend) and STEM.json for every photograph, as
    soon as it is labelled; of several also overview.html and shares.csv. A rerun skips what the same words,
    options and models made of the same photograph, unless it is to be explained (STEM.explain-X-Y.png).

    Exit code: 0 all went well; 1 some photographs could not be read, written or explained, the others are
    done; 2 nothing could be done, or it stopped for the reason told.
    """
    clock = Clock(profile)
    if not images and save_vocabulary is None:
        raise InputError(_NO_PHOTOGRAPHS)
    if vocabulary is not None and (classes is not None or classes_file is not None):
        raise InputError("give the words once: --vocabulary, --classes or --classes-file")
    if vocabulary is not None and grow:
        raise InputError("--grow needs the words themselves: a kept vocabulary has its references already")
    points, exports = read_points(explain), export_kinds([*(export or []), *["npz"] * npz])
    sets = new_sets(dataset, out)
    names = () if vocabulary is not None else read_names(classes, classes_file)
    paths = find_images(images, recursive) if images else []
    cut = _map_of_regions(regions, paths)
    meant = {"--grow": grow, "--images-per-word": images_per_word, "--prompts": prompts, "--draw": draw}
    meant |= {"--batch-size": batch_size, "--index": index != "exact", "--regions": cut is not None}
    for given in (name for name, value in meant.items() if value):
        told = f"{given} means nothing to --model {model}: leave it out"
        require(find_preset(model).detector is None, told)
    preset = with_models(find_preset(model), regions=SUPERPIXELS if cut is not None else regions)
    options = change(
        preset.segment,
        k=k,
        local_weight=local_weight,
        background=background,
        background_threshold=background_threshold,
        others=others,
    )
    options = parse_settings(settings or [], options)
    usual = replace(preset, segment=options)
    drawing = drawing_with(usual, draw or [])
    with clock("load"):
        from ..model import load
        from ..segment.regions import regions_from
        from ..segment.vocabulary import Vocabulary, parse_names
        from ..show.caveats import Caveats, alone
        from .growing import Growing, needed_models, ready_model, tell_prompts

        known: Any = names  # looked at before anything costly is loaded
        if vocabulary is None:
            parse_names(names)
        else:
            for name in VOCABULARY:
                if getattr(options, name) != getattr(preset.segment, name):
                    settled = "was settled when this vocabulary was made: make it again"
                    raise InputError(f"{vocabulary}: option {name!r} {settled}")
            known = Vocabulary.load(vocabulary)
        growing = Growing(drawing, bank, grow, yes, images_per_word, prompts, index, dtype, usual)
        base = growing.open_base()
        parts = drawing.labelling if vocabulary is not None else needed_models(base, known, growing)
        fetch_first(drawing, parts, yes)
        source = None if cut is None else regions_from(cut, options.superpixels)
        how: Any = {"device": device, "dtype": dtype or "float32", "clock": clock, "regions": source}
        loaded = load(drawing, bank=base, taught=taught, **how)
    tell_trained(drawing, loaded.identity)
    if vocabulary is None:
        loaded = ready_model(loaded, base, known, growing)
    ready = loaded.ready(known)
    if taught is not None:
        say(f"{len(ready.lesson_pictures)} of {len(loaded.taught)} lessons are of these words")
    if drawing.detector is not None and base is not None and vocabulary is None:
        tell_prompts(ready, names, base)
    if save_vocabulary is not None:
        kept = ready.save(save_vocabulary)
        say(f"{len(ready)} classes kept in {kept}")
    may_grow = not grow and vocabulary is None and not preset.world
    hint = " (--grow draws what the bank hardly knows)" if may_grow else ""
    for line in Caveats(answered=ready.answered or {}).brief():
        say(f"{line}{hint}", "yellow")
    covered = vocabulary is not None or loaded.options.background != "none"
    if told := "" if covered else alone(ready.names):
        say(f'{told}: --others "everything else" gives the rest a label of its own', "yellow")
    failed = bool(paths) and _segment_all(
        loaded,
        paths,
        ready,
        out,
        points,
        sets,
        strict=strict or len(paths) == 1,
        again=again or bool(points) or cut is not None,  # a result does not keep which map it was
        exports=exports,
        batch_size=batch_size,
    )
    if profile:
        Console().print(profile_table(clock))
    if failed:
        raise typer.Exit(1)


def _map_of_regions(given: str | None, paths: Sequence[Path]) -> Any:
    """(H, W) whole numbers where `--regions` names a picture or array of them, else None.

    Raises InputError for a file that holds none, or a map of another size than the one photograph.
    """
    path = Path(given or "")
    if path.suffix.lower() not in (".png", ".npy", ".tif", ".tiff"):
        return None
    import numpy as np

    from ..images import reading_mask
    from ..references.annotated import read_values, upright_size

    if len(paths) != 1:
        raise InputError(f"{path}: a map of regions belongs to one photograph, and {len(paths):,} are given")
    if path.suffix.lower() == ".npy":
        with reading_mask(path):
            found = np.load(path, allow_pickle=False)
    else:
        found = read_values(path)
    if found.dtype.kind not in "iu" or found.shape != upright_size(paths[0]):
        size = " x ".join(map(str, upright_size(paths[0])))
        told = f"{found.dtype} of {' x '.join(map(str, found.shape))}"
        raise InputError(f"{path}: holds {told}, expected whole numbers of {size}, as {paths[0]} is")
    return found


def name(
    images: Photographs = None,
    model: Model = DEFAULT,
    bank: BankOrOwn = None,
    yes: Yes = False,
    out: Results = Path("out"),
    device: Device = "auto",
    dtype: Dtype = None,
    settings: Annotated[
        list[str] | None,
        Option("--set", help="Any option: --set naming.merge=0.9 --set superpixels.scale=50."),
    ] = None,
    recursive: Recursive = False,
    strict: Strict = False,
    again: Again = False,
    npz: Npz = False,
    export: Export = None,
    dataset: Dataset = None,
    explain: Explain = None,
    batch_size: BatchSize = None,
    index: Index = "exact",
    profile: Profile = False,
) -> None:
    """Label photographs with names found in a bank: no words are given.

    The regions of a photograph are named by the nouns of the bank's rows that look most like them; nouns of
    one meaning become one name; what nothing in the bank is near is "background". Prints a tree of what was
    found and writes what `freeda segment` does; STEM.json has the tree too.

    Exit code: as `freeda segment`.
    """
    clock = Clock(profile)
    if not images:
        raise InputError(_NO_PHOTOGRAPHS)
    points, exports = read_points(explain), export_kinds([*(export or []), *["npz"] * npz])
    sets = new_sets(dataset, out)
    paths = find_images(images, recursive)
    preset = find_preset(model)
    preset = replace(preset, segment=parse_settings(settings or [], preset.segment))
    with clock("load"):
        from ..model import load
        from ..segment.naming import nouns_bank

        place = preset.bank if bank is None else bank
        base = nouns_bank(None if place is None else open_bank(place, index), preset.name)
        fetch_first(preset, preset.labelling, yes)
        loaded = load(preset, bank=base, device=device, dtype=dtype or "float32", clock=clock)
    failed = _segment_all(
        loaded,
        paths,
        loaded.namer(),
        out,
        points,
        sets,
        strict=strict or len(paths) == 1,
        again=again or bool(points),
        exports=exports,
        batch_size=batch_size,
    )
    if profile:
        Console().print(profile_table(clock))
    if failed:
        raise typer.Exit(1)


def _segment_all(
    model: FreeDA,
    paths: list[Path],
    vocabulary: Vocabulary | Namer,
    out: Path,
    points: Sequence[tuple[int, int]],
    sets: Mapping[str, Path],
    strict: bool,
    **how: Any,
) -> bool:
    """Label the photographs and print what was found; whether some could not be labelled or explained.

    `how` goes to `FreeDA.segment_many`. Raises the error of a photograph where there is only that one, and
    InputError where all failed.
    """
    from ..segment.result_folder import read_labelled, read_record
    from ..show.exports.folder import export_folder
    from ..show.html import write_overview

    several = len(paths) > 1
    table = Table("image", "found", "files", show_lines=several)
    failed, counts, strange, jsons, told, missed = [], Counter[str](), Counter[str](), [], [], False
    with Bars(len(paths)) as bars:
        how |= {"on_start": bars.begin, "on_done": bars.encoded}
        for outcome in model.segment_many(paths, vocabulary, out, strict=strict, **how):
            bars.finish()
            if outcome.error is not None:
                failed.append(str(outcome.path))
                say_error(outcome.error, bars.console)
            else:
                jsons.append(outcome.files["json"])
            if outcome.result is not None:
                if (tree := outcome.result.tree) is not None and len(paths) <= ROWS:
                    told.append(f"{outcome.path}:\n{tree}\n")
                told += (cards := explained(outcome, points, bars.console, strict))
                missed = missed or len(cards) < len(points)
                if why := outcome.result.caveats.of_picture():
                    strange[why] += 1
            counts["already there" if outcome.kept else "failed" if outcome.error else "labelled"] += 1
            if len(paths) <= ROWS:
                add_row(table, outcome)
    if table.row_count:
        print_table(table)
    for why, n in strange.items():
        say(f"{why} ({f'{n:,} of {len(paths):,} photographs; ' if several else ''}--model)", "yellow")
    for line in "\n".join(told).split("\n") if told else ():
        say(line)
    if several:
        said = ", ".join(f"{n:,} {what}" for what, n in counts.items())
        say(f"{len(paths):,} photographs: {said}; results in {out}")
    if len(failed) == len(paths):
        raise InputError(f"none of the {len(paths):,} photographs could be labelled")
    if several:
        overview, shares = write_overview(Written(out), lambda: filter(None, map(read_record, jsons)))
        say(f"at a glance: {overview}; what covers each: {shares}")
    for kind, place in sets.items():
        say(f"data set: {export_folder(map(read_labelled, jsons), place, kind)}")
    if failed:
        lost = f"{len(failed):,} of {len(paths):,} could not be labelled"
        say_error(InputError(f"{lost}: {listed(failed, 10)}"))
    return bool(failed) or missed


def export(
    results: Annotated[list[Path], Argument(help="Files that --npz or save_npz wrote.")],
    to: Annotated[list[str], Option("--to", metavar="KIND", help=f"{KINDS}. Repeatable.")],
    out: Annotated[
        Path | None, Option(help="Folder for the files; default: each beside its .npz file.")
    ] = None,
    tolerance: Annotated[
        float, Option(min=0.0, help="Pixels by which polygons may leave the outlines; 0 is exact.")
    ] = 0.0,
) -> None:
    """Write kept segmentations (.npz) as files that other tools read. Loads no model."""
    kinds = export_kinds(to)
    stems = [path.stem for path in results]
    if out is not None and len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"two of these are called {twice}: their files would be the same in {out}")
    from ..segment import Segmentation

    for path in results:
        folder = path.parent if out is None else out
        if "npz" in kinds and (folder / f"{path.stem}.npz").resolve() == path.resolve():
            raise InputError(f"{path}: it is this very npz file already: give another --out")
        for file in Segmentation.load_npz(path).export(folder, kinds, path.stem, tolerance).values():
            say(str(file))
