"""The check in a process of its own: a request as JSON on stdin, the result as JSON on stdout.

There a strategy can neither end, hang nor change the process that wants to know.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout

from trading.errors import BadInput
from trading.strategies.check.check import check_strategy


def main() -> None:
    request = json.load(sys.stdin)
    try:
        # What the strategy prints is not the answer.
        with redirect_stdout(sys.stderr):
            answer = check_strategy(
                request["name"], request["params"], request["source"], interval=request["interval"]
            ).to_dict()
    except BadInput as error:
        answer = {"error": [error.message, error.field, error.fix]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
