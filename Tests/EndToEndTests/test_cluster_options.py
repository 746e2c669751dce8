"""What a node is told about its cluster: checked at the start, from the command line, the environment and the file."""

import json

import pytest

from node import Node, run_kvd

KEY = b"0123456789abcdef0123456789abcdef\n"


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(KEY)
    return str(file)


def refused(result, *words):
    """A start that was refused with a short sentence that has these words."""
    assert 0 < result.returncode < 128, result
    assert len(result.stderr.splitlines()) < 12 and "Fatal error" not in result.stderr, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


# The option as on the command line, its value, and what the refusal must say.
WRONG = [
    ("join", "a,,b", "empty"), ("join", "300.1.1.1", "300.1.1.1"), ("join", "node:99999", "node:99999"),
    ("join", "node:5-1", "port"), ("join", "node:1-100", "100 ports"), ("join", "fd00::1", "brackets"),
    ("join", "a b", "valid host"), ("join", "0.0.0.0", "every address"),
    ("join", ",".join(f"n{i}" for i in range(65)), "more than 64"),
    ("expect", "0", "from 1 to 32"), ("expect", "33", "from 1 to 32"), ("expect", "three", "three"),
    ("cluster", " ", "1 to 200"), ("cluster", "two words", "without spaces"), ("cluster", "x" * 201, "1 to 200"),
    ("cluster-key-file", "/nowhere/key", "/nowhere/key"), ("cluster-key-file", "/dev/null", "16 to 1024"),
    ("exit-when-isolated", "soon", "soon"), ("exit-when-isolated", "0", "30s"),
    ("exit-when-isolated", "500ms", "from 1s"), ("exit-when-isolated", "400d", "365d"),
]


@pytest.mark.parametrize("option, value, word", WRONG)
class TestWrongValues:
    def test_on_the_command_line(self, option, value, word):
        refused(run_kvd("serve", f"--{option}={value}"), f"--{option}", word)

    def test_in_the_environment(self, option, value, word):
        variable = "KVD_" + option.upper().replace("-", "_")
        refused(run_kvd("serve", environment={variable: value}), f"--{option}", word)

    def test_in_the_file(self, tmp_path, option, value, word):
        file = tmp_path / "config.json"
        file.write_text(json.dumps({option: value}))
        refused(run_kvd("serve", "--config", str(file)), f"--{option}", word)


class TestValues:
    def test_are_taken_from_the_command_line(self, start, key_file):
        start("--join", "10.0.0.7,node-1:3100", "--join", "node-2:3100-3110", "--join", "[fd00::1]:3100",
              "--expect", "3", "--cluster", "blue", "--cluster-key-file", key_file,
              "--exit-when-isolated", "30s", is_ready=False).alive()

    def test_are_taken_from_the_environment(self, start, key_file):
        start(environment={
            "KVD_JOIN": "10.0.0.7, node-1", "KVD_EXPECT": "3", "KVD_CLUSTER": "blue", "KVD_CLUSTER_KEY_FILE": key_file,
            "KVD_EXIT_WHEN_ISOLATED": "1m"}, is_ready=False).alive()

    def test_are_taken_from_the_file(self, io, tmp_path, key_file):
        file = tmp_path / "config.json"
        file.write_text(json.dumps({
            "join": ["10.0.0.7", "node-1:3100-3110"], "expect": 3, "cluster": "blue", "cluster-key-file": key_file,
            "exit-when-isolated": "30s"}))
        node = Node("--config", str(file), io=io, is_ready=False)
        node.alive()
        node.stop()

    def test_of_the_command_line_win(self, start):
        environment = {"KVD_EXPECT": "none", "KVD_JOIN": "::1"}
        start("--expect", "2", "--join", "node-1", environment=environment, is_ready=False).alive()

    def test_may_be_an_empty_list(self, start):
        start(environment={"KVD_JOIN": ""}).alive()

    @pytest.mark.parametrize("count, fits", [(15, False), (16, True), (1024, True), (1025, False), (100_000, False)])
    def test_keys_have_a_length(self, start, tmp_path, count, fits):
        file = tmp_path / "key"
        file.write_bytes(b"k" * count + b" \r\n")
        if fits:
            start("--cluster-key-file", str(file)).alive()
        else:
            refused(run_kvd("serve", "--cluster-key-file", str(file)), "16 to 1024 bytes")

    def test_only_of_join_are_lists_in_the_file(self, tmp_path):
        file = tmp_path / "config.json"
        for value in ({"name": ["a"]}, {"join": [1]}, {"join": [["a"]]}):
            file.write_text(json.dumps(value))
            refused(run_kvd("serve", "--config", str(file)))


def test_help_and_the_configuration_name_them(tmp_path):
    help_text = run_kvd("serve", "--help").stdout
    file = tmp_path / "config.json"
    file.write_text('{"colour": 1}')
    listed = run_kvd("serve", "--config", str(file)).stderr
    for word in ("join", "expect", "cluster", "cluster-key-file", "exit-when-isolated"):
        assert f"--{word}" in help_text and word in listed
