"""Reads the keys of a map page by page."""

from urllib.parse import quote


def pages(node, map_path, **query):
    """All pages of a listing, in order. Any but the last may be short or empty: the work for each is bounded."""
    after = None
    while True:
        words = {**query, **({"after": after} if after is not None else {})}
        text = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in words.items())
        answer = node.call("GET", map_path + ("?" + text if text else ""))
        assert answer.status == 200, answer.body
        page = answer.json()
        yield page["keys"]
        after = page["next"]
        if after is None:
            return


def listed(node, map_path, **query):
    """All keys of a map."""
    return [key for page in pages(node, map_path, **query) for key in page]
