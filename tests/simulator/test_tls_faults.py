"""Certificates on demand."""

from __future__ import annotations

import os
import resource
import ssl
import subprocess
import sys
import tempfile

import pytest

from slng_edge.errors import ConfigError, SlngEdgeError
from slng_edge.simulator import Faults, LocalGateway, ScriptRecognizer, ToneSynthesizer
from slng_edge.simulator.certificates import Certificates

STT = "/v1/stt/slng/deepgram/nova:3-en"


def trusting(gateway):
    """A client's context that trusts the gateway's authority."""
    return ssl.create_default_context(cafile=gateway.ca_file)


@pytest.mark.parametrize("folder", [None, "tls"])
def test_a_certificate_that_cannot_be_kept_is_said(tmp_path, monkeypatch, folder):
    """Where it was to be; no folder of ours is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    certificates = Certificates("127.0.0.1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"cannot write .*/authority\.pem: File too large"):
            certificates.write(folder and tmp_path / folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("slng-edge-*"))


def test_good_is_served(start, connect):
    """By a client that trusts `ca_file`, over wss."""
    gateway = start("tls=good")
    assert gateway.url.startswith("wss://127.0.0.1:")
    connect(gateway, STT, ssl_context=trusting(gateway)).init()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("wrong_name", "IP address mismatch|doesn't match"),
        ("expired", "certificate has expired"),
        ("not_yet_valid", "not yet valid"),
        ("unknown_authority", "unable to get local issuer|self.signed"),
    ],
)
def test_a_bad_certificate_is_bad_for_the_reason_asked_for(start, connect, state, words):
    """A client that trusts `ca_file` says why; without the fault it is served."""
    gateway = start(f"tls={state}")
    with pytest.raises(ssl.SSLCertVerificationError, match=words):
        connect(gateway, STT, ssl_context=trusting(gateway))
    assert gateway.connections == []
    gateway.faults = Faults()
    connect(gateway, STT, ssl_context=trusting(gateway)).init()
    gateway.faults = Faults(f"tls={state}")
    with pytest.raises(ssl.SSLCertVerificationError, match=words):
        connect(gateway, STT, ssl_context=trusting(gateway))


def test_the_file_lies_where_it_was_asked_for(start, tmp_path):
    """In `tls_dir`, and without it in `record_dir`; both outlive the gateway."""
    first = start("tls", tls_dir=tmp_path / "a", record_dir=tmp_path / "b")
    second = start("tls", record_dir=tmp_path / "b")
    assert first.ca_file == str(tmp_path / "a" / "authority.pem")
    assert second.ca_file == str(tmp_path / "b" / "authority.pem")
    first.close()
    second.close()
    assert "PRIVATE" not in (tmp_path / "a" / "authority.pem").read_text()
    assert (tmp_path / "b" / "authority.pem").exists()


def test_a_temporary_file_goes_with_the_gateway(start, tmp_path, monkeypatch):
    """Also when the gateway cannot listen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gateway = start("tls")
    assert os.path.exists(gateway.ca_file)
    assert gateway.ca_file.startswith(str(tmp_path))
    port = int(gateway.url.rpartition(":")[2])
    second = LocalGateway(
        port=port, stt=ScriptRecognizer(["x"]), tts=ToneSynthesizer(), faults=["tls"]
    )
    with pytest.raises(SlngEdgeError, match="address already in use"):
        second.start()
    assert len(list(tmp_path.iterdir())) == 1
    gateway.close()
    assert list(tmp_path.iterdir()) == []


def test_without_the_fault_there_is_no_file(start):
    """Nor TLS."""
    gateway = start()
    assert gateway.ca_file == ""
    assert gateway.url.startswith("ws://")


def test_a_folder_that_cannot_be_written_to_is_named(start):
    """Before anything listens."""
    with pytest.raises(ConfigError, match=r"cannot write /dev/null/x/authority\.pem"):
        start("tls", tls_dir="/dev/null/x")


def test_without_trustme_the_line_that_installs_it_is_said():
    """In a process where the library cannot be imported."""
    code = (
        "import sys; sys.modules['trustme'] = None\n"
        "from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer\n"
        "from slng_edge.errors import MissingLibrary\n"
        "engines = dict(stt=ScriptRecognizer(['x']), tts=ToneSynthesizer())\n"
        "LocalGateway(**engines)\n"
        "try: LocalGateway(**engines, faults=['tls'])\n"
        "except MissingLibrary as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "trustme" in done.stdout
    assert "pip install 'slng-edge[gateway]'" in done.stdout
