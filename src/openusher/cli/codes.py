"""`usher codes`: the table of codes that the SEVU API answers."""

from __future__ import annotations

from openusher.cli.options import AsJson
from openusher.cli.output import print_json, print_table
from openusher.sevu.codes import CODES


def codes(as_json: AsJson = False) -> None:
    """Print every code of the SEVU API with its message; those marked ours are not known from ScaleEngine.

    \b
    Example: usher codes --json
    """
    ordered = sorted(CODES, key=lambda code: code.number)
    if as_json:
        for code in ordered:
            print_json(
                {
                    "code": code.number,
                    "name": code.name,
                    "message": code.sentence,
                    "ours": code.ours,
                    "success": code.success,
                }
            )
        return
    rows = [[code.display(), code.name, code.sentence, "ours" if code.ours else "ScaleEngine's"] for code in ordered]
    print_table(["code", "name", "message", "whose"], rows)
