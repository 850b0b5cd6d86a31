"""`freeda bank ...`: looking into a bank, sharing it, and the list of all its commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from ..errors import BankError, InputError, printable
from ..options.index import PROTOTYPE_RECALL, RECALL
from ..presets import PRESETS, find_preset
from .bank_add import add_images
from .bank_make import clean, coverage, export, grow, import_, merge
from .base import OneLineErrors, print_facts, print_table, say
from .options import BankFolder, Device, New, Yes, fetch_first, listed, open_bank

if TYPE_CHECKING:
    pass

Repo = Annotated[str, Argument(help="Name on the hub: name/repo.", show_default=False)]

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    help="Look into a bank, mend it, make another of it, share it.",
    epilog="Examples:\n\nfreeda bank info bank/\n\n"
    "freeda bank add-images annotated/ --out refs/ --model vit-l --shots 5",
)


def info(
    path: BankFolder,
    every: Annotated[bool, Option("--all", help="Also options that are as by default.")] = False,
) -> None:
    """Say what a bank holds, which models made it, and with which options."""
    from ..bank import Bank
    from ..options import CollectOptions, to_dict

    opened = Bank.open(path)
    nouns = Counter(opened.nouns)
    named = listed([f"{noun} {count:,}" for noun, count in nouns.most_common()])
    rows = {
        "pairs": f"{len(opened):,} from {opened.meta['captions']:,} captions",
        "nouns": f"{len(nouns):,} different: {named}",
        "dimensions": f"key {opened.keys.shape[1]}, prototype {opened.prototypes.shape[1]}",
        "shards": f"{len(opened.meta['shards']):,}",
    }
    if (regions := opened.regions) is not None:
        with_noun = len(regions) - len(regions.nouns.rows_of([""]))
        told = f"{len(regions):,} of {regions.meta['pictures']:,} pictures, {with_noun:,} with a noun"
        rows["region values"] = f"{told} (`freeda bank info {regions.path}`)"
    usual = set() if every else {*flat({"options": to_dict(CollectOptions())}).items()}
    more = flat({key: value for key, value in opened.meta.items() if key not in (*rows, "captions")})
    rows |= {name: value for name, value in more.items() if (name, value) not in usual}
    if not every:
        rows["other options"] = "as by default (--all lists them)"
    print_facts(f"bank {path}", rows)


def verify(path: BankFolder) -> None:
    """Read every byte of a bank, finished or not, and name what is damaged.

    Exit code: 0 all is whole; 2 something is damaged, or the bank is not finished.
    """
    from ..bank.format import MANIFEST, REGIONS
    from ..bank.verify import advice, find_damage

    said = Console(stderr=True)
    with said.status("reading") as status:
        found = list(find_damage(path, lambda file: status.update(f"reading {file}")))
    for file, wrong in found:
        say(f"{file}: {wrong}", "red", said)
    if found:
        n = "1 file is" if len(found) == 1 else f"{len(found):,} files are"
        raise BankError(f"{path}: {n} damaged: {advice(path, [file for file, _ in found])}")
    for place in (path, path / REGIONS):
        if not (place / MANIFEST).is_file() and (place == path or place.exists()):
            raise BankError(
                f"{place}: its shards are whole, but the bank is not finished: run what makes it again "
                "(`freeda collect`, `freeda bank add-images`)"
            )
    say(f"whole: {path}", "green")


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested JSON values by dotted keys, as texts; lists become one text."""
    out: dict[str, str] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            out |= flat(inner, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = ", ".join(map(str, inner)) if isinstance(inner, list) else str(inner)
    return out


def search(
    path: BankFolder,
    word: Annotated[str, Argument(help="A word or phrase, as a class name.", show_default=False)],
    model: Annotated[
        str | None, Option("--model", help="Preset, or preset .json file; default: the bank's own.")
    ] = None,
    k: Annotated[
        int | None, Option("-k", help="Pairs that make a class prototype; default: the preset's.")
    ] = None,
    nouns: Annotated[int, Option(help="How many nouns to print.")] = 10,
    out: Annotated[
        Path | None, Option(help="Also write a contact sheet (.png, .jpg): kept pictures, else captions.")
    ] = None,
    approximate: Annotated[
        bool, Option("--approximate", help="Use the approximate index: quicker in a large bank.")
    ] = False,
    device: Device = "auto",
    yes: Yes = False,
) -> None:
    """Print the nouns of a bank that are nearest to a word, with similarity and captions.

    `pairs` counts a noun's pairs among the k nearest, whose mean is the class's prototype: a word that the
    bank knows well has its own noun first, with most of them.
    """
    opened = open_bank(path, "approximate" if approximate else "exact")
    own = opened.meta.get("preset")
    if model is None and own not in PRESETS:
        raise BankError(f"{path}: made with preset {own!r}, which is none of this version's: give --model")
    preset = find_preset(str(own) if model is None else model)
    if k is not None and k < 1:
        raise InputError(f"-k is {k}: it must be at least 1")
    from ..bank.inspect import nearest_nouns, write_sheet
    from ..encoders import load_clip
    from ..segment.vocabulary import WordEmbedder, parse_names
    from ..weights import identity_of

    (name,) = parse_names({word: ()})
    fetch_first(preset, ("clip",), yes)
    clip = load_clip(preset, device)
    said = identity_of(preset.clip, "clip", preset.name)
    opened.check_models({**opened.meta["models"], "clip": said, "clip_dim": clip.dim})
    embedded = WordEmbedder(clip)([name], preset.segment.templates)[0]
    query = (embedded / embedded.norm()).numpy()
    k = min(preset.segment.k if k is None else k, len(opened))
    found = nearest_nouns(opened, query, k, nouns)

    title = Text(printable(f"nearest to {name}"))
    table = Table("similarity", "noun", "pairs", "caption", title=title, title_justify="left")
    for near in found:
        caption = opened.row(near.rows[0])["caption"]
        told = (f"{near.similarity:.3f}", near.noun, f"{near.within:,} of {k:,}", caption)
        table.add_row(*(Text(printable(text)) for text in told))
    print_table(table)
    if out is not None:
        n = write_sheet(opened, name, found, out)
        say(f"{n} pictures in {out}" if n else f"captions in {out}: pictures are kept with --keep-images")


def push(
    path: BankFolder,
    repo: Repo,
    private: Annotated[bool, Option("--private", help="For your eyes only.")] = False,
    licence: Annotated[str, Option(help="The bank's own licence, as the hub names it.")] = "other",
    message: Annotated[str | None, Option(help="What the commit says.")] = None,
    card: Annotated[bool, Option("--card", help="Only print the card that would go with it.")] = False,
) -> None:
    """Share a bank on the Hugging Face hub, with a card: models, licences, counts.

    Log in before, with `hf auth login`. Every byte is looked at first.
    """
    if card:
        from ..bank import Bank
        from ..bank.hub import bank_card

        print(bank_card(Bank.open(path), repo, licence), end="")
        return
    from ..bank.hub import push as run

    with Console(stderr=True).status("reading") as status:
        made = run(path, repo, private=private, licence=licence, message=message, on_step=status.update)
    say(f"shared: {made}", "green")


def pull(
    repo: Repo,
    out: New,
    revision: Annotated[str | None, Option(help="Branch, tag or commit; default: the newest.")] = None,
) -> None:
    """Fetch a shared bank from the Hugging Face hub and look at every byte of it.

    A download that was stopped goes on where it was.
    """
    from ..bank.hub import pull as run

    with Console(stderr=True).status("asking the hub") as status:
        bank = run(repo, out, revision=revision, on_step=status.update)
    say(f"bank of {len(bank):,} pairs in {out}", "green")


def index(
    path: BankFolder,
    recall: Annotated[
        float | None,
        Option(
            min=0.0,
            max=1.0,
            help=f"Share of the true nearest that must be found; default: {RECALL} of keys, "
            f"{PROTOTYPE_RECALL} of prototypes.",
        ),
    ] = None,
) -> None:
    """Make the approximate index of a large bank, beside it, and measure what it finds.

    `Bank.open(path, index="approximate")` searches with it, and makes it by itself where it is missing or
    belongs to what the bank was before. A small bank needs none: it is searched exactly in no time.
    """
    from ..bank import Bank
    from ..bank.bank import LARGE
    from ..bank.exact import Column
    from ..bank.index import ApproximateIndex

    whole = Bank.open(path)
    searched: list[tuple[Bank, Column]] = [(whole, "key")]
    searched += [] if whole.regions is None else [(whole.regions, "prototype")]
    status = Console(stderr=True).status("reading")

    def tell(step: str, rows: int, in_all: int) -> None:
        status.update(f"{step}: {rows:,} of {in_all:,}")

    for bank, column in searched:
        if len(bank) < LARGE:
            say(f"{bank.path}: {len(bank):,} pairs need no index: below {LARGE:,} every search is exact")
            continue
        rows = bank.keys if column == "key" else bank.prototypes
        with status:
            about = ApproximateIndex.build(rows, bank.path, bank.identity, recall, tell, column).about
        found = f"finds {about.recall:.1%} of its {about.neighbours:,} nearest {column}s"
        say(f"{about.bytes / 1e9:.2f} GB in {bank.path / about.file}")
        say(f"a query looks into {about.probes:,} of {about.lists:,} lists and {found}")
        say(f"(mean of {about.queries} {column}s of the bank; the worst of them {about.worst:.1%})")


COMMANDS: dict[str, Callable[..., None]] = {
    **{"info": info, "verify": verify, "search": search, "merge": merge, "clean": clean, "export": export},
    **{"push": push, "pull": pull, "import": import_, "add-images": add_images, "grow": grow},
    **{"coverage": coverage, "index": index},
}
for name, command in COMMANDS.items():
    app.command(name)(command)
