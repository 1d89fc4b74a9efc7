"""Reports as answers: pages that stand alone, which a browser holds to that."""

from __future__ import annotations

import base64
import hashlib

from starlette.responses import Response

from backtest.report.markup import page_style

__all__ = ["page_answer"]


def page_answer(page: str) -> Response:
    """``page`` under a policy by which it asks for nothing from anywhere, and no script runs in it."""
    style = base64.b64encode(hashlib.sha256(page_style().encode()).digest()).decode()
    nothing = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    policy = f"default-src 'none'; style-src 'sha256-{style}'; {nothing}"
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})
