"""Pictures of the page, of a conversation with the model: pictures.py FOLDER. browser.py says who starts the servers."""

import io
import pathlib
import sys

from PIL import Image

from browser import Page, start

# Few colours are in it, and fewer bytes; as many as smooth letters take.
COLOURS = 48


def draw(page, folder, name):
    image = Image.open(io.BytesIO(page.browser.get_screenshot_as_png())).convert("RGB")
    path = folder / f"page-{name}.png"
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size} bytes")


def main():
    folder = pathlib.Path(sys.argv[1])
    browser = start()
    try:
        page = Page(browser)
        page.size(760, 520, 1.5)
        page.scheme("light")
        page.open()
        page.ask("Name the capital of France.")
        page.ask("List three things to see in Paris.")
        draw(page, folder, "light")
        page.scheme("dark")
        draw(page, folder, "dark")
        page.scheme("light")
        page.size(1024, 720)
        page.open("/?kiosk")
        page.ask("List five fruits.")
        draw(page, folder, "kiosk")
    finally:
        browser.quit()


main()
