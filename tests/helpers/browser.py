"""Pages opened in a headless browser, as people will open them."""

import json
import re
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Runs when everything is loaded; what it finds stands in the page that the browser prints.
SCRIPT = """<script>
window.faults = [];
window.addEventListener('error', event => window.faults.push('error: ' + event.message));
window.addEventListener('load', () => {
  for (const image of document.images) {
    if (!image.naturalWidth) window.faults.push('no picture: ' + image.alt);
    if (!image.alt) window.faults.push('no alternative text: ' + image.src.slice(0, 80));
  }
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) window.faults.push('wider than the window: ' + root.scrollWidth);
  for (const element of document.querySelectorAll('p, li, td, th, h1, h2, h3, figcaption'))
    if (element.innerText.trim() && parseFloat(getComputedStyle(element).fontSize) < 11)
      window.faults.push('small text: ' + element.innerText);
  const found = {faults: window.faults, images: document.images.length, width: root.clientWidth};
  window.parent.postMessage(JSON.stringify(found), '*');
});
</script>"""


def find_browser():
    """The browser; the test is skipped where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser to open the page with ({', '.join(BROWSERS)}); Debian: apt-get install chromium")
    return found


def look_at(page, width):
    """What is wrong with a page at a width in pixels, and the number of its pictures; nothing is fetched."""
    # A frame gives the width: the browser's own window has one of at least 500 pixels.
    opened = page.with_name(f".{page.stem}-looked-at.html")
    opened.write_text(page.read_text(encoding="utf-8").replace("<head>", f"<head>{SCRIPT}", 1), encoding="utf-8")
    frame = page.with_name(f".{page.stem}-frame.html")
    frame.write_text(
        '<pre id="told"></pre><script>window.addEventListener("message", event => '
        '{document.getElementById("told").textContent = event.data})</script>'
        f'<iframe src="{opened.name}" width="{width}" height="900" style="border:0"></iframe>'
    )
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"]
    words += ["--enable-logging=stderr", "--virtual-time-budget=8000", f"--window-size={max(width, 500) + 50},1000"]
    try:
        done = subprocess.run(
            [find_browser(), *words, frame.as_uri()], capture_output=True, text=True, timeout=120, check=False
        )
    finally:
        opened.unlink()
        frame.unlink()
    told = re.search(r'<pre id="told">(.+?)</pre>', done.stdout, re.DOTALL)
    assert told, done.stdout[-500:] + done.stderr[-500:]
    found = json.loads(told[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return found["faults"] + console, found["images"], found["width"]


def check_page(page, images, widths=(1280, 400)):
    """Asserts that a page has so many pictures, loads them all, and fits windows of these widths."""
    for width in widths:
        faults, count, seen = look_at(page, width)
        assert not faults, f"{page.name} at {width} pixels: {faults}"
        assert seen == width and count == images
