"""What tests need and what is no test: servers, proxies, receivers, served applications, corpora and cases."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
