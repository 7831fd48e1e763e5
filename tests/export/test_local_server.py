"""MLServer's environment and process, without MLServer: a script stands in for it."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
import types

from export.serving import local_server

STANDIN = """#!{python}
import os, pathlib, time
pathlib.Path({place!r}).write_text(str(os.getpid()))
time.sleep(600)
"""


def test_the_server_ends_with_the_command(tmp_path):
    model = tmp_path / "models" / "tiny" / "1"
    model.mkdir(parents=True)
    (model / "saved_model.pb").touch()
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / ".ready").write_text("\n".join(local_server.REQUIREMENTS))
    script = environment / "bin" / "mlserver"
    script.write_text(STANDIN.format(python=sys.executable, place=str(tmp_path / "pid")))
    script.chmod(0o755)
    command = [sys.executable, "-m", "export.serve", str(tmp_path / "models")]
    serving = subprocess.Popen([*command, "--environment", str(environment)])
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert serving.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        server = int((tmp_path / "pid").read_text())
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(timeout=60) == 0
        assert not pathlib.Path(f"/proc/{server}").exists()
    finally:
        serving.kill()


def test_other_requirements_make_a_new_environment(tmp_path, monkeypatch):
    made = []

    def create(folder, **options):
        pathlib.Path(folder).mkdir(exist_ok=True)
        made.append(folder)

    monkeypatch.setattr(local_server.venv, "create", create)
    monkeypatch.setattr(
        local_server.subprocess, "run", lambda *a, **k: types.SimpleNamespace(returncode=0)
    )
    for requirements, count in ((("a==1",), 1), (("a==1",), 1), (("a==2",), 2), (("a==2",), 2)):
        monkeypatch.setattr(local_server, "REQUIREMENTS", requirements)
        python = local_server.make_environment(tmp_path / "environment")
        assert python.parent.name == ("Scripts" if os.name == "nt" else "bin")
        assert len(made) == count
