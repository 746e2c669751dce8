"""Real HTTP clients: curl, wrk, requests, and httpx with the pooled keep-alive connections of a browser."""

import asyncio
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import httpx
import requests


def curl(*arguments, data=None):
    """Runs curl; fails on any error of the transfer itself."""
    result = subprocess.run(["curl", "--silent", "--show-error", "--max-time", "30", *arguments], input=data,
                            capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


class TestCurl:
    def test_the_readme_lines(self, node, key):
        url = node.url + key
        status = ("-o", "/dev/null", "-w", "%{http_code}")
        assert curl(*status, "-X", "PUT", "--data-binary", "hello, world", url) == b"201"
        shown = curl("-i", url).decode()
        assert shown.startswith("HTTP/1.1 200") and shown.endswith("hello, world")
        assert curl("-X", "POST", f"{url}-visits?op=incr&by=1").strip() == b"1"
        assert curl(*status, "-X", "DELETE", url) == b"204"

    def test_an_upload_waits_for_100_continue(self, node, key, tmp_path):
        file = tmp_path / "file"
        file.write_bytes(bytes(range(256)) * (4096 * 3))
        upload = ["curl", "-v", "--silent", "-H", "Expect: 100-continue", "-T", str(file), node.url + key]
        trace = subprocess.run(upload, capture_output=True, text=True, timeout=30).stderr
        assert "< HTTP/1.1 100" in trace and "< HTTP/1.1 201" in trace
        assert curl(node.url + key) == file.read_bytes()

    def test_a_chunked_upload_of_unknown_length(self, node, key):
        data = b"streamed " * 200_000
        curl("-H", "Transfer-Encoding: chunked", "-T", "-", node.url + key, data=data)
        assert curl(node.url + key) == data

    def test_one_connection_serves_many_urls(self, node, key):
        urls = [f"{node.url}{key}-{i}" for i in range(20)]
        for url in urls:
            curl("-X", "PUT", "-d", url, url)
        out = curl("-w", "\n%{num_connects}\n", *urls).decode().split("\n")
        assert out[0::2][:20] == urls
        assert out[1::2][:20] == ["1"] + ["0"] * 19

    def test_http_1_0_is_answered_and_closed(self, node, key):
        curl("-X", "PUT", "-d", "1", node.url + key)
        assert curl("--http1.0", node.url + key) == b"1"

    def test_an_upgrade_to_http_2_is_declined(self, node, key):
        curl("-X", "PUT", "-d", "1", node.url + key)
        assert curl("--http2", node.url + key) == b"1"


class TestRequests:
    def test_a_session_does_everything(self, node, key):
        with requests.Session() as session:
            url = node.url + key
            assert session.put(url, json={"a": 1}, timeout=10).status_code == 201
            assert session.get(url, timeout=10).json() == {"a": 1}
            assert session.patch(url, json={"b": 2}, timeout=10,
                                 headers={"Content-Type": "application/merge-patch+json"}).ok
            assert session.get(url, params={"at": "/b"}, timeout=10).json() == 2
            assert session.head(url, timeout=10).headers["Content-Type"] == "application/json"
            assert session.options(url, timeout=10).ok
            assert session.delete(url, timeout=10).status_code == 204

    def test_a_generator_is_uploaded_in_chunks(self, node, key):
        parts = [bytes([i % 256]) * (i * 37 % 5_000 + 1) for i in range(300)]
        assert requests.put(node.url + key, data=iter(parts), timeout=30).status_code == 201
        assert requests.get(node.url + key, timeout=30).content == b"".join(parts)

    def test_a_form_upload(self, node, key):
        requests.post(node.url + key, files={"file": ("a.txt", b"content")}, timeout=10).raise_for_status()
        stored = requests.get(node.url + key, timeout=10)
        assert stored.headers["Content-Type"].startswith("multipart/form-data; boundary=")
        assert b"content" in stored.content

    def test_many_threads(self, node, key):
        def work(thread):
            with requests.Session() as session:
                for i in range(100):
                    url, value = f"{node.url}{key}-{thread}-{i % 10}", f"{thread}-{i}"
                    session.put(url, data=value, timeout=10).raise_for_status()
                    assert session.get(url, timeout=10).text == value

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))


class TestBrowserLike:
    """Six pooled connections, many requests at once, cache validation: what a browser does with a page's files."""

    def test_a_page_with_many_files(self, node, key):
        async def load():
            limits = httpx.Limits(max_connections=6, max_keepalive_connections=6)
            headers = {"User-Agent": "Mozilla/5.0", "Accept-Encoding": "gzip, deflate, br", "Accept-Language": "en"}
            async with httpx.AsyncClient(base_url=node.url, limits=limits, headers=headers, timeout=30) as client:
                paths = [f"{key}/asset-{i}.js" for i in range(200)]
                stored = await asyncio.gather(*(
                    client.put(path, content=path * 50, headers={"Content-Type": "text/javascript"}) for path in paths))
                assert {answer.status_code for answer in stored} == {201}
                first = await asyncio.gather(*(client.get(path) for path in paths))
                assert [answer.text for answer in first] == [path * 50 for path in paths]
                again = await asyncio.gather(*(
                    client.get(path, headers={"If-None-Match": answer.headers["ETag"], "Cache-Control": "max-age=0"})
                    for path, answer in zip(paths, first)))
                assert {answer.status_code for answer in again} == {304}

        asyncio.run(load())

    def test_a_page_from_another_origin_may_ask_first(self, node, key):
        answer = httpx.options(node.url + key, headers={"Origin": "http://example.test",
                                                        "Access-Control-Request-Method": "PUT"})
        assert answer.status_code in (200, 204)


class TestLoad:
    def run_wrk(self, node, path, *arguments):
        command = ["wrk", "-t1", "-c50", "-d2s", *arguments, node.url + path]
        out = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        assert "Socket errors" not in out, out
        assert "Non-2xx" not in out, out
        requests_done = int(re.search(r"(\d+) requests in", out)[1])
        assert requests_done > 1_000, out
        return requests_done

    def test_reads(self, node, key):
        node.call("PUT", key, b"x" * 100)
        self.run_wrk(node, key)

    def test_writes_and_reads_over_many_keys(self, node, key, tmp_path):
        script = tmp_path / "mixed.lua"
        script.write_text(f"""
          local n = 0
          request = function()
            n = n + 1
            local path = "{key}-" .. (n * 7919 % 5000)
            if n % 2 == 0 then return wrk.format("PUT", path, nil, string.rep("v", n % 300)) end
            return wrk.format("POST", path .. "-count?op=incr", nil, "")
          end
        """)
        self.run_wrk(node, "", "-s", str(script))

    def test_pipelined(self, node, key, tmp_path):
        node.call("PUT", key, b"x" * 100)
        script = tmp_path / "pipeline.lua"
        script.write_text(f"""
          init = function(args)
            local r = {{}}
            for i = 1, 16 do r[i] = wrk.format("GET", "{key}") end
            pipelined = table.concat(r)
          end
          request = function() return pipelined end
        """)
        self.run_wrk(node, key, "-s", str(script))

    def test_no_count_is_lost_under_concurrency(self, node, key):
        def count(_):
            with node.connect() as connection:
                for _ in range(500):
                    assert connection.call("POST", key + "?op=incr", b"").status in (200, 201)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(count, range(8)))
        assert node.call("GET", key).body == b"4000"

    def test_only_one_of_many_wins_a_compare_and_set(self, node, key):
        node.call("PUT", key, b"0")

        def increment(_):
            with node.connect() as connection:
                for _ in range(50):
                    while True:
                        read = connection.call("GET", key)
                        written = connection.call("PUT", key, b"%d" % (int(read.body) + 1), {"If-Match": read.etag})
                        if written.status == 200:
                            break
                        assert written.status == 412

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(increment, range(4)))
        assert node.call("GET", key).body == b"200"
