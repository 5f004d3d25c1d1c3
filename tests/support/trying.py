"""Actions that tests perform on a model's page."""

from __future__ import annotations

import io
import json
import typing as t

import numpy as np
import PIL.Image

# The events that a browser sends when a file is dropped or pasted; without a desktop there is no
# other way to create them.
DROP = """(element, [bytes, name, type]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(bytes)], name, {type}));
  for (const kind of ["dragenter", "dragover", "drop"])
    element.dispatchEvent(
      new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""
PASTE = """(element, [bytes, name, type]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(bytes)], name, {type}));
  element.dispatchEvent(
    new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true}));
}"""


def png(size: tuple[int, int] = (30, 20), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", size, "white").save(file, kind)
    return file.getvalue()


def file_of(data: bytes, name: str = "a.png", kind: str = "image/png") -> list[t.Any]:
    return [list(data), name, kind]


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def predict(page: t.Any, state: str = "full") -> t.Any:
    page.locator("#predict").click()
    return answered(page, state)


def answered(page: t.Any, state: str = "full") -> t.Any:
    page.locator(f"#answer[data-state={state}]").wait_for()
    return page.locator("#answer")


def facts(page: t.Any) -> dict[str, str]:
    names = page.locator("#answer dt").all_inner_texts()
    return dict(zip(names, page.locator("#answer dd").all_inner_texts(), strict=True))


def raw(page: t.Any) -> t.Any:
    return json.loads(page.locator(".raw code").text_content())


def draw(page: t.Any, *points: tuple[float, float]) -> None:
    page.locator(".pad").scroll_into_view_if_needed()
    box = page.locator(".pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
