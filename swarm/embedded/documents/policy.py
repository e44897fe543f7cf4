"""The policy `documents`: planner, sub-agent and aggregator of a run with documents, by search and quotation."""

from __future__ import annotations

import json
import re
from typing import Any

from swarm.embedded.documents import planner
from swarm.embedded.documents.shown import Ranking, Sentence, sentences
from swarm.embedded.policy import PolicyReply, PolicyRequest, PolicyToolCall
from swarm.embedded.repair import prompt
from swarm.embedded.repair.worker import Step, steps

SEARCH, READ, SUBMIT = "search_documents", "read_document", "submit"
QUOTES = 3
"""Sentences that an item is answered with."""

_NEAR = 12
_SUBTASK = re.compile(r"^# Your sub-task\n\nSub-task [^\n]*\n\n(.*)", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"^The sources of these results are: (.*)$", re.MULTILINE)
_LETTERS = re.compile(r"^# Answer ([A-Z])$", re.MULTILINE)
_NOTHING = "No document that was found says anything of this"


class DocumentsPolicy:
    """Implements `swarm.embedded.policy.Policy`."""

    name = "documents"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        """The next turn; which role is meant shows in what the request offers."""
        text = prompt.user_text(request.messages)
        form = (request.response_format or {}).get("json_schema", {})
        if form.get("name") == "ranking":
            letters = _LETTERS.findall(text)
            return PolicyReply(json.dumps({"reason": f"{planner.WHAT_I_AM}: as they came.", "ranking": letters}))
        if form:
            return PolicyReply(planner.plan_json(text))
        offered = {tool.get("function", {}).get("name"): tool["function"] for tool in request.tools}
        if not offered:
            return PolicyReply(_joined(prompt.user_text(request.messages[:2])))
        if SEARCH not in offered:
            return PolicyReply(f"{planner.WHAT_I_AM}: nothing is attached that I could read.")
        return Worker(text, steps(request.messages), offered.get(SUBMIT)).turn()


class Worker:
    """The turns of one agent: search, read around what was found, quote. Where it stands is read from its steps."""

    def __init__(self, text: str, done: list[Step], submit: dict[str, Any] | None) -> None:
        own = _SUBTASK.search(text)
        asked = own[1] if own else planner.task_of(text)
        self.items = planner.items(asked)
        self.columns = planner.columns(asked)
        self.done = done
        self.submit = submit
        self.schema = (submit or {}).get("parameters", {}).get("properties", {}).get("result")

    def turn(self) -> PolicyReply:
        """The next one."""
        if not any(step.name == SEARCH for step in self.done):
            return PolicyReply("", tuple(_call(SEARCH, query=query, most=5) for query in self._queries()))
        if not any(step.name == READ for step in self.done) and (places := self._places()):
            return PolicyReply("", tuple(_call(READ, **place) for place in places))
        return self._hand_in()

    def _queries(self) -> list[str]:
        named = [f"{item} {column}" for item in self.items for column in self.columns[1:]]
        return list(dict.fromkeys(named or self.items))[:24]

    def _ranking(self) -> Ranking:
        return Ranking(sentences(step.result or "" for step in self.done if step.name in (SEARCH, READ)))

    def _places(self) -> list[dict[str, Any]]:
        """Around the best of what was found for each item."""
        ranking = self._ranking()
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for item in self.items:
            for best in ranking.best(item):
                first = max(1, best.first - _NEAR)
                found[best.document, first] = {"document": best.document, "first": first, "last": best.last + _NEAR}
        return list(found.values())[:24]

    def _hand_in(self) -> PolicyReply:
        ranking = self._ranking()
        rows = [self._row(ranking, item) for item in self.items] if self.columns else []
        text = _table(self.columns, rows) if rows else "\n\n".join(self._section(ranking, item) for item in self.items)
        if self.submit is None:
            return PolicyReply(text)
        given: dict[str, Any] = {"status": "done", "summary": text}
        if self.schema is not None:
            given["result"] = self._filled(ranking, self.schema)
        return PolicyReply("", (PolicyToolCall(SUBMIT, json.dumps(given, ensure_ascii=False)),))

    def _row(self, ranking: Ranking, item: str) -> list[str]:
        return [item, *(_cell(ranking, column, item) for column in self.columns[1:])]

    def _section(self, ranking: Ranking, item: str) -> str:
        best = sorted(ranking.best(item, most=QUOTES), key=lambda each: (int(each.document[1:]), each.first))
        lines = [f"- {_quoted(each.text)} {each.source}" for each in best] or [f"- {_NOTHING}. [no source]"]
        return f"## {item}\n\n" + "\n".join(lines)

    def _filled(self, ranking: Ranking, schema: dict[str, Any]) -> Any:
        """A value for a schema: each text is what the documents say of its name."""
        kind = schema.get("type")
        if kind == "array":
            inner = schema.get("items", {})
            items = self.items if inner.get("type") in ("object", "string") else []
            return [self._of_item(ranking, inner, item) for item in items]
        return self._of_item(ranking, schema, " ".join(self.items))

    def _of_item(self, ranking: Ranking, schema: dict[str, Any], item: str) -> Any:
        if schema.get("type") == "object":
            fields = schema.get("properties", {})
            return {
                name: self._filled(ranking, field)
                if field.get("type") == "array"
                else item
                if at == 0 and len(fields) > 1
                else _cell(ranking, f"{name.replace('_', ' ')} {field.get('description', '')}", item)
                for at, (name, field) in enumerate(fields.items())
            }
        return _cell(ranking, item, "")


def _cell(ranking: Ranking, wanted: str, item: str) -> str:
    """What the documents say of one thing of an item: a value where they hold one by name, else a quotation."""
    for best in ranking.best(wanted, item):
        pair = best.pair
        said = pair[1].replace("|", "/") if pair else _quoted(_clause(best, wanted))
        return f"{said} {best.source}"
    return "[no source]"


def _clause(sentence: Sentence, wanted: str) -> str:
    """A long sentence, or the part of it that says what is wanted, word for word."""
    if len(sentence.text) <= 90:
        return sentence.text
    parts = re.split(r"(?<=[,;:])\s+", sentence.text)
    whole = [Sentence(sentence.document, 1, 1, part) for part in parts if len(part.split()) > 2]
    return next((best.text.rstrip(",;:") for best in Ranking(whole).best(wanted)), sentence.text)


def _quoted(text: str) -> str:
    """In double quotes, where what is quoted has none; only a part of it where it has."""
    text = text.replace("|", "/")
    longest = max(re.split('["\u201c\u201d]', text), key=len).strip()
    return f'"{text if longest == text.strip() else longest}"'


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _joined(text: str) -> str:
    """The results that the aggregator was given, one after the other, with the line of their sources."""
    bodies = [_NAMED.sub("", body).strip() for _, body in prompt.results(text)]
    named = _NAMED.search(text)
    return "\n\n".join([*bodies, f"Sources: {named[1]}"] if named else bodies or [text.strip()])


def _call(tool: str, **arguments: Any) -> PolicyToolCall:
    return PolicyToolCall(tool, json.dumps(arguments, ensure_ascii=False))
