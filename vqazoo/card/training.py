"""Sections of the model card that say how a model was made, as Markdown. Imports no torch."""

from __future__ import annotations

from vqazoo.amounts import duration, epochs, percent
from vqazoo.card.energy import energy_lines
from vqazoo.card.facts import Facts
from vqazoo.card.metrics import pictures, table
from vqazoo.config import OriginConfig


def training(facts: Facts) -> str:
    """Command, machine, time and cost."""
    environment, said = facts.environment, ["- Command and settings: not recorded."]
    if facts.recipe:
        training = facts.recipe.training
        settings = (
            f"{len(training.stages)} stages, see the recipe"
            if training.stages
            else f"learning rate {training.learning_rate:g}, batches of {training.batch_size}"
        )
        said = [
            f"- Command: `{command(facts)}`, with the `recipe.toml` beside this card.",
            f"- Settings: AdamW, {settings}, {training.schedule} schedule, {training.precision}, "
            f"seed {facts.recipe.seed}; kept is the epoch with the best validation "
            f"{training.monitor}.",
        ]
    said += _labels(facts)
    if environment.get("hardware"):
        said.append(f"- Hardware: {environment['hardware']} (device {environment.get('device')}).")
    else:
        said.append("- Hardware: not recorded.")
    if facts.log:
        steps = sum(line["seconds"] for line in facts.log)
        encoding = sum(line.get("encoding_seconds", 0.0) for line in facts.log)
        encoded = f", and {duration(encoding)} of encoding" if encoding else ""
        said.append(
            f"- Time: {duration(steps)} of training in {epochs(len(facts.log))}{encoded}; "
            f"validation is not counted."
        )
        said.append(
            f"- Cost: {(steps + encoding) / 3600:.3g} machine hours. Money was not recorded."
        )
    else:
        said += ["- Time: not recorded.", "- Cost: not recorded."]
    said += energy_lines(facts)
    if environment.get("date"):
        said.append(f"- Date: {environment['date'][:10]}.")
    if environment.get("versions"):
        named = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
        said.append(f"- Versions: Python {environment.get('python', 'not recorded')}, {named}.")
    else:
        said.append("- Versions: not recorded.")
    return "\n\n".join(["\n".join(said), *pictures(facts, "loss.png")])


def _labels(facts: Facts) -> list[str]:
    """What it learnt besides the answers, and whether the data set itself said it."""
    said = []
    count = facts.environment.get("questions", {}).get("train", 0)
    for name, instead in facts.head.labels.items():
        given = facts.environment.get("labels", {}).get(name, 0)  # older releases read none
        rest = f"told by {instead}" if instead else "not learnt"
        if not count:
            source = "where it was taken from was not recorded"
        elif given == count:
            source = f"the data set's own label, for all {count:,} questions"
        elif given:
            source = f"the data set's own label for {given:,} of {count:,} questions, else {rest}"
        else:
            source = rest
        said.append(f"- Learnt besides the answers: `{name}`: {source}.")
    return said


def command(facts: Facts) -> str:
    """What trains such a model from the recipe beside the card."""
    return f"vqazoo train --config recipe.toml{_root(facts)} --out RUN"


def _root(facts: Facts) -> str:
    return " --data-root DIR" if facts.dataset and facts.dataset.prepare else ""


def reproduce(facts: Facts) -> str:
    """Commands that train and score it again."""
    if facts.recipe is None:
        return "The recipe was not recorded, so it cannot be repeated."
    if facts.listed:
        made = f"vqazoo recipe run {facts.name}{_root(facts)}"
    else:
        split = facts.recipe.data.test_split
        made = f"{command(facts)}\nvqazoo eval dir:RUN/best --split {split} --out RUN/{split}"
    commit = facts.environment.get("commit", "")
    from_commit = f" of commit `{commit.rstrip('+')}`" if commit else ""
    changed = ", with local changes" if commit.endswith("+") else ""
    version = facts.checkpoint.get("vqazoo_version", "not recorded")
    return (
        f"```sh\n{made}\n```\n\nIt was made with vqazoo {version}{from_commit}{changed}. The same "
        f"seed, versions and kind of machine repeat the run; other machines may differ in the last "
        f"digits."
    )


def origin(facts: Facts) -> str:
    """What the recipe follows, what we chose, what differs."""
    follows = facts.recipe.origin if facts.recipe else OriginConfig()
    if follows == OriginConfig():
        return "It names no publication that it follows."
    said = [f"The recipe follows {' '.join(follows.source.split())}." if follows.source else ""]
    if follows.published:
        rows = [(f"`{key}`", str(value)) for key, value in follows.published.items()]
        said.append(table(("setting", "what the source states"), rows))
    if follows.ours:
        rows = [(f"`{key}`", str(why)) for key, why in follows.ours.items()]
        said.append(table(("setting", "chosen by us, because"), rows))
    if follows.deviations:
        listed = "\n".join(f"- {' '.join(deviation.split())}" for deviation in follows.deviations)
        said.append(f"Deviations from the source:\n\n{listed}")
    if follows.scores:
        said.append(published_scores(follows, facts))
    return "\n\n".join(part for part in said if part)


def published_scores(follows: OriginConfig, facts: Facts | None = None) -> str:
    """The scores that the source reports, each beside ours on the recipe's test split."""
    rows = []
    for score in follows.scores:
        ours = "not run here"
        if facts is not None and facts.data is not None:
            measured = facts.find(score.metric, (facts.data.type, facts.data.test_split))
            if measured is not None:
                ours = (
                    f"{percent(measured.value)} ({measured.split}, "
                    f"{measured.questions:,} questions)"
                )
        how = (
            f"{score.protocol}; {score.source}"
            if score.protocol and score.source
            else score.protocol
        )
        rows.append(
            (f"`{score.metric}`", f"{score.value:.2f}%", score.split, how or score.source, ours)
        )
    columns = ("metric", "published", "scored on", "how, and where it is stated", "ours")
    return f"Published scores beside ours:\n\n{table(columns, rows)}"


def cite(facts: Facts) -> str:
    """A BibTeX entry, and the sources of the parts."""
    year = str(facts.environment.get("date", ""))[:4]
    version = facts.checkpoint.get("vqazoo_version", "")
    fields = {
        "title": f"{facts.name}: a visual question answering model",
        "author": "{the vqazoo developers}" if facts.listed else "",
        "year": year,
        "note": f"made with vqazoo {version}".rstrip(),
    }
    listed = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items() if value)
    sources: dict[str, list[str]] = {}
    for role, manifest in (
        ("image encoder", facts.encoder("image")),
        ("text encoder", facts.encoder("text")),
        ("fusion", facts.fusion),
        ("head", facts.head),
        ("data", facts.dataset),
    ):
        if manifest and manifest.source:
            sources.setdefault(manifest.source, []).append(role)
    named = "\n".join(f"- {', '.join(roles)}: {source}" for source, roles in sources.items())
    return (
        f"```bibtex\n@misc{{{facts.name},\n{listed}\n}}\n```\n\nAnd what it is made of:\n\n{named}"
    )
