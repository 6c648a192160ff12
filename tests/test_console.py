"""What a command says while it works."""

import io

from functa_core import console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(total=4):
    with console.ticking("train", total) as tick:
        for done in range(1, total + 1):
            tick(done, psnr_db=20.0 + done)


def test_a_file_gets_plain_lines(monkeypatch, capsys):
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)
    work()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("train: 2/4, psnr_db 22, ")
    assert "/s, " in lines[1]
    assert lines[1].endswith("s left")


def test_lines_are_few_and_the_last_one_is_there(capsys):
    work(total=1000)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("train: 1000/1000")


def test_a_terminal_gets_a_bar_with_psnr_rate_and_time_left(monkeypatch):
    screen = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", screen)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "120")
        work()
    text = screen.getvalue()
    assert "4/4" in text
    assert "psnr_db 24" in text
    assert "/s" in text
    assert "left" in text
    assert "\x1b[" in text
