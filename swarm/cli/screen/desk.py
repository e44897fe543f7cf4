"""What the user does at the screen: which agent is selected, whose log is open, and what the keys are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swarm.cli.screen.grid import Key, Layout, shown_agents
from swarm.cli.screen.log import AgentLog
from swarm.cli.view import RunView
from swarm.cli.view_parts import AgentView, State
from swarm.scheduling.controls import Controls

HELP = (
    ("arrows, h j k", "select a sub-agent (escape: none)"),
    ("enter, l", "show the selected one's log; there arrows, page up and down, home and end move in it"),
    ("p", "pause the swarm: nothing new begins, what is under way comes to its end; once more: go on"),
    ("s", "stop the selected one softly: it is told to finish with what it has"),
    ("x", "stop the selected one at once (x again to confirm)"),
    ("+  -", "let one sub-agent more, or fewer, be at work at once"),
    ("q", "leave the log or this help"),
    ("Ctrl-C", "end the run with what is there; twice: at once"),
)
READ_ONLY = (
    HELP[0],
    HELP[1],
    ("q", "leave the log or this help; else stop watching, which ends nothing"),
    ("", "This run is made by another process: from here it is read-only. Pause or stop it where it runs."),
)


class Desk:
    """Takes keys. `controls` are None where the run is another process's, `record` is its `events.jsonl`; `leave` is
    what `q` does where there is nothing else to leave."""

    def __init__(
        self, view: RunView, controls: Controls | None, record: Callable[[], Path | None], leave: Callable[[], None]
    ) -> None:
        self.layout = Layout()
        self.selected: Key | None = None
        self.log: AgentLog | None = None
        self.back = 0
        """Lines between the end of the log and the last one that is shown."""
        self.page = 10
        self.helps = False
        self.said = ""
        self.listens = True
        """Whether keys come at all."""
        self._view = view
        self._controls = controls
        self._record = record
        self._leave = leave
        self._armed: Key | None = None

    def __repr__(self) -> str:
        return f"<Desk: {self.selected} selected{', log open' if self.log else ''}>"

    @property
    def agent(self) -> AgentView | None:
        """The selected one."""
        return self._view.agents.get(self.selected) if self.selected is not None else None

    @property
    def help(self) -> tuple[tuple[str, str], ...]:
        return READ_ONLY if self._controls is None else HELP

    @property
    def hint(self) -> str:
        """The keys that matter now."""
        if not self.listens:
            return ""
        if self.log is not None:
            return "arrows, page up/down move · end follows · q back"
        if self.helps:
            return "q back"
        if self._controls is None:
            return "arrows select · enter log · q stop watching · ? help   (read-only)"
        pause = "p go on" if self._controls.paused else "p pause"
        return f"{pause} · arrows select · enter log · s/x stop · +/- width · ? help"

    def press(self, key: str) -> None:
        """Do what a key is for; nothing for others."""
        armed, self._armed = self._armed, None
        self.said = ""
        if self.log is not None:
            self._in_log(key)
        elif self.helps or key in ("?", "q", "escape"):
            self._in_help(key)
        elif key in ("enter", "l"):
            self._open_log()
        elif not self._moved(key) and self._controls is not None:
            self._steer(key, self._controls, armed)

    def _in_help(self, key: str) -> None:
        if self.helps:
            self.helps = False
        elif key == "?":
            self.helps = True
        elif key == "escape":
            self.selected = None
        elif self._controls is None:
            self._leave()

    def _in_log(self, key: str) -> None:
        match key:
            case "q" | "escape" | "l" | "enter":
                self.log, self.back = None, 0
            case "up" | "k":
                self.back += 1
            case "down" | "j":
                self.back -= 1
            case "page up":
                self.back += self.page
            case "page down":
                self.back -= self.page
            case "home" | "g":
                self.back = 1 << 30
            case "end" | "G":
                self.back = 0
            case _:
                pass
        self.back = max(0, self.back)

    def _moved(self, key: str) -> bool:
        columns = self.layout.columns
        by = {"down": columns, "j": columns, "up": -columns, "k": -columns, "right": 1, "left": -1, "h": -1}.get(key)
        if by is None:
            return False
        keys = self.layout.keys
        if keys and (self.selected is None or self.selected not in shown_agents(self._view)):
            self.selected = keys[0] if by > 0 else keys[-1]
        elif keys and self.selected is not None:
            at = keys.index(self.selected) + by if self.selected in keys else 0
            if 0 <= at < len(keys):
                self.selected = keys[at]
            elif abs(by) > 1:
                self.selected = keys[-1] if by > 0 else keys[0]
        return True

    def _open_log(self) -> None:
        agent, record = self.agent, self._record()
        if agent is None:
            self.said = "select a sub-agent first"
        elif not agent.trajectories:
            self.said = f"{agent.name} has not begun"
        elif record is None:
            self.said = "the run has no record yet"
        else:
            self.log, self.back = AgentLog(record, agent.trajectories), 0

    def _steer(self, key: str, controls: Controls, armed: Key | None) -> None:
        match key:
            case "p":
                if controls.paused:
                    controls.resume()
                else:
                    controls.pause()
            case "+" | "=" | "-":
                width = max(1, int(self._view.bounds.width) + (-1 if key == "-" else 1))
                controls.set_concurrency(width)
                self.said = f"{width} at work at once from now on"
            case "s" | "x":
                self._stop(controls, armed, soft=key == "s")
            case _:
                pass

    def _stop(self, controls: Controls, armed: Key | None, *, soft: bool) -> None:
        agent, key = self.agent, self.selected
        if agent is None or key is None:
            self.said = "select a sub-agent first"
        elif agent.state.ended:
            self.said = f"{agent.name} has ended"
        elif not soft and armed != key:
            self._armed = key
            self.said = f"x again stops {agent.name} at once, and what it did is lost"
        elif agent.state is State.WAITING:
            controls.stop_agent(key[1], soft=soft)
            self.said = f"{agent.name} is not started"
        else:
            controls.stop_agent(agent.trajectory_id, soft=soft)
            self.said = f"{agent.name} is {'told to finish with what it has' if soft else 'stopped'}"
