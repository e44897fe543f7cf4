"""Documents and turns for tests of `--attach`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swarm import RunConfig, Swarm
from swarm.calls import ModelRequest
from swarm.parts import Parts
from swarm.testing import Answer, FakeBackend, ScriptedModel, Turn, tool_call

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


def pdf(*pages: str) -> bytes:
    """A PDF of so many pages, each with these words."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, words in enumerate(pages):
        shown = f"BT /F1 12 Tf 20 100 Td ({words}) Tj ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 200] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream")
    out, places = b"%PDF-1.4\n", list[int]()
    for number, each in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{each}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    end += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + end.encode()


def one_agent(*turns: Turn) -> Answer:
    """A plan of one sub-task, whose agent takes these turns."""

    def answer(request: ModelRequest) -> Turn:
        if request.response_format:
            return {"rationale": "r", "subtasks": [{"id": "a", "title": "a", "instructions": "find out"}]}
        said = sum(each["role"] == "assistant" for each in request.messages)
        turn: Turn = turns[min(said, len(turns) - 1)]
        return turn

    return answer


def handed_in(summary: str, **more: Any) -> Turn:
    return tool_call("submit", status="done", summary=summary, **more)


def swarm_of(answer: Answer, **config: Any) -> tuple[ScriptedModel, Swarm]:
    """A model that answers so, and a swarm of it."""
    model = ScriptedModel(answer)
    return model, Swarm(config=RunConfig(**config), parts=Parts(model=model, backend=FakeBackend()))


def plain(folder: Path) -> Path:
    """Two documents that need no conversion."""
    folder.mkdir(parents=True)
    (folder / "log.md").write_text("# Log\n\nThe tower was built in 1871.\nIt has a red door.\n", encoding="utf-8")
    (folder / "other.txt").write_text("It was sold in 1902.\n", encoding="utf-8")
    return folder


def corpus(folder: Path) -> Path:
    """A folder with a document of each kind, and with what is not to be read."""
    folder.mkdir(parents=True)
    (folder / "log.md").write_text("# Log\n\nThe tower was built in 1871.\nIt has a red door.\n", encoding="utf-8")
    (folder / "scan.pdf").write_bytes(pdf("The lamp burned whale oil.", "It was sold in 1902."))
    (folder / "page.html").write_text("<h1>Crew</h1><script>x()</script><p>Ada Holm was its keeper.</p>")
    (folder / "blob.bin").write_bytes(b"\0\1\2" * 40)
    (folder.parent / "secret.txt").write_text("the canary is outside")
    (folder / "out.txt").symlink_to(folder.parent / "secret.txt")
    return folder
