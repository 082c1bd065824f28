"""Certificates that sign themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.servers import absent


def certificate(folder: Path, host: str) -> tuple[str, str]:
    """A private key and a certificate for a host name, both as PEM."""
    if shutil.which("openssl") is None:
        absent("openssl is not on PATH: certificates cannot be made")
    key, signed = folder / "tls.key", folder / "tls.crt"
    names = ("-subj", f"/CN={host[:60]}", "-addext", f"subjectAltName=DNS:{host}")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *names, "-keyout", key, "-out", signed],
        capture_output=True,
        timeout=30,
        check=True,
    )
    return key.read_text(), signed.read_text()
