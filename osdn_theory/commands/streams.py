"""The command ``osdn-theory streams``."""

from osdn_theory.commands.console import print_table
from osdn_theory.commands.options import JsonFlag, print_json


def streams(json: JsonFlag = False) -> None:
    """List the streams that `verify` knows, with what each one is."""
    from osdn_theory.verification.run import STREAM_DESCRIPTIONS

    if json:
        print_json(STREAM_DESCRIPTIONS)
    else:
        print_table("Streams", ["name", "what it is"], STREAM_DESCRIPTIONS.items(), left=["what it is"])
