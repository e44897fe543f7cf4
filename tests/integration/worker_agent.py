"""An agent that is nobody's: asks its model until that says a command, runs it, and tells the output, until it says
`end`. Run by itself, with nothing but the standard library."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any


def ask(messages: list[Any], url: str = "", token: str = "") -> dict[str, Any]:
    """One model call; gives the message, or `{"error": STATUS, "said": TEXT}`."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {token or os.environ['OPENAI_API_KEY']}"}
    body = json.dumps({"model": os.environ["OPENAI_MODEL"], "messages": messages, "temperature": 0.25}).encode()
    request = urllib.request.Request(f"{url or os.environ['OPENAI_BASE_URL']}/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return dict(json.load(answer)["choices"][0]["message"])
    except urllib.error.HTTPError as error:
        return {"error": error.code, "said": error.read().decode()}


def main() -> None:
    messages: list[Any] = [{"role": "user", "content": sys.stdin.read() or sys.argv[1]}]
    while True:
        message = ask(messages)
        if "error" in message:
            sys.exit(f"refused with {message['error']}: {message['said']}")
        messages.append({"role": "assistant", "content": message["content"]})  # all else is forgotten
        word, _, rest = message["content"].partition(" ")
        if word == "end":
            sys.stdout.write(f"{rest}\n")
            return
        done = subprocess.run(message["content"], shell=True, capture_output=True, text=True)
        messages.append({"role": "user", "content": f"{done.returncode}: {done.stdout}{done.stderr}"})


if __name__ == "__main__":
    main()
