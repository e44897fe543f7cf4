"""How images of instances are named, in the official spelling."""

from __future__ import annotations

from swarm.errors import UsageError

TEMPLATE = "swebench/sweb.eval.x86_64.<id>"
_PLACES = ("<id>", "{id}", "{instance_id}")


def image_of(template: str, instance: str) -> str:
    """The image of an instance. Its id is in small letters, and where there is a namespace its double underscore is
    `_1776_`, as the official harness spells it; in a tag it is as it is. Without a tag it is `latest`.

    Raises:
        UsageError: the template has no place for the instance.
    """
    place = next((place for place in _PLACES if place in template), None)
    if place is None:
        raise UsageError(
            f"--image-template: {template!r} names the same image for all", remedy=f"put <id> in it: {TEMPLATE}"
        )
    namespace, slash, last = template.rpartition("/")
    name, colon, tag = last.partition(":")
    small = instance.lower()
    spelt = small.replace("__", "_1776_") if slash else small
    tag = tag.replace(place, instance) if colon else "latest"
    return f"{namespace.replace(place, spelt)}{slash}{name.replace(place, spelt)}:{tag}"
