"""Find credentials in the files of the checkout: `python -m tests.secrets_scan [folder]` exits 1 when there are any.

Patterns come from detect-secrets, used one line at a time and offline: nothing is verified against a service. A line
that must hold a made-up credential ends in the comment ``pragma: allowlist secret``.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

ALLOWED = "pragma: allowlist secret"


class DiscordWebhookDetector(RegexBasedDetector):
    """A webhook address is a credential: whoever holds it can write to the channel."""

    secret_type = "Discord webhook"
    denylist: ClassVar[list[re.Pattern[str]]] = [
        re.compile(r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d{15,}/[\w-]{40,}"),
    ]


class WalletKeyDetector(RegexBasedDetector):
    """A 32-byte hex number given to something called a key; without the name it may as well be a transaction id."""

    secret_type = "wallet private key"
    denylist: ClassVar[list[re.Pattern[str]]] = [
        re.compile(r"""(?i)(?:private|secret|wallet)_?key["']?\s*[:=]\s*["']?(?:0x)?[0-9a-f]{64}\b"""),
    ]


DETECTORS: tuple[RegexBasedDetector, ...] = (
    AWSKeyDetector(),
    AzureStorageKeyDetector(),
    BasicAuthDetector(),
    DiscordBotTokenDetector(),
    DiscordWebhookDetector(),
    GitHubTokenDetector(),
    GitLabTokenDetector(),
    JwtTokenDetector(),
    NpmDetector(),
    OpenAIDetector(),
    PrivateKeyDetector(),
    PypiTokenDetector(),
    SendGridDetector(),
    SlackDetector(),
    StripeDetector(),
    TelegramBotTokenDetector(),
    TwilioKeyDetector(),
    WalletKeyDetector(),
)


class Finding(NamedTuple):
    """Where a credential stands and of what kind it is; never the credential itself."""

    path: str
    line: int
    kind: str


def checkout_files(root: Path) -> Iterator[Path]:
    """Yield the files git tracks under `root`, and those it would add."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    for name in listing.split("\0"):
        path = root / name
        if name and path.is_file():
            yield path


def scan(root: Path) -> list[Finding]:
    """Return every credential found in the text files of the checkout at `root`, in file order."""
    findings: list[Finding] = []
    for path in checkout_files(root):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        findings += [
            Finding(str(path.relative_to(root)), number, detector.secret_type)
            for number, line in enumerate(lines, start=1)
            if ALLOWED not in line
            for detector in DETECTORS
            if any(detector.analyze_string(line))
        ]
    return findings


def main(arguments: list[str]) -> int:
    """Print what was found and return the exit status."""
    findings = scan(Path(arguments[0] if arguments else ".").resolve())
    for finding in findings:
        print(f"{finding.path}:{finding.line}: {finding.kind}")
    print(f"{len(findings)} credentials found" if findings else "no credentials found")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
