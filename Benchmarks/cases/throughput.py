"""Requests per second of the server's processor, against servers that do less, and against peers."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from harness import servers
from harness.load import Load, fill, measure
from harness.profile import profile
from harness.results import Result, Samples, at_least, format_microseconds, format_number, format_rate


@dataclass(frozen=True)
class Contender:
    """A server, how its load differs from the case's, and whether it has to hold the keys."""

    start: object
    load: dict
    fills: bool = True

    def begins(self, stack):
        return stack.enter_context(self.start())


def kvd(io="auto", **load):
    return Contender(partial(servers.kvd, io=io), load)


def null(ring, value):
    return Contender(partial(servers.null, ring, value), {}, fills=False)


REDIS = Contender(servers.redis, {})
NGINX = Contender(servers.nginx, {}, fills=False)
READ_NULLS = {"null io_uring": null("uring", 100), "null epoll": null("epoll", 100)}
WRITE_NULLS = {"null io_uring": null("uring", 0), "null epoll": null("epoll", 0)}


@dataclass(frozen=True)
class Throughput:
    """A load, who takes it in turn, and the bars: kvd's requests per CPU-second over another's, at least so many."""

    name: str
    title: str
    load: Load
    contenders: dict
    bars: tuple = ()
    notes: tuple = ()
    first: str = "kvd"
    # The share of the usual time that a turn takes, and how many times the usual rounds there are.
    share: float = 1.0
    times: int = 1
    # The server that does nothing but receive and send.
    mark: str = "null io_uring"

    def run(self, options):
        load = self.load.but(keys=options.keys(self.load.keys))
        contenders = {name: self.contenders[name] for name in self.contenders if options.has(name)}
        reports = {name: [] for name in contenders}
        with ExitStack() as stack:
            # Contenders that differ only in how they are asked are one server: to wait for a turn takes time, too.
            servers = {}
            for contender in contenders.values():
                if contender.start not in servers:
                    servers[contender.start] = contender.begins(stack)
                    if contender.fills:
                        fill(servers[contender.start], load.but(**contender.load))
            running = {name: servers[contender.start] for name, contender in contenders.items()}
            for _ in range(options.rounds * self.times):
                for name, contender in contenders.items():
                    reports[name].append(measure(running[name], load.but(**contender.load),
                                                 self.share * options.seconds))
            result = self.result(reports)
            for name, bars in self.missed(result).items() if options.profiles else ():
                own = load.but(**contenders[name].load)
                result.explain(profile(running[name], own, self.share * options.seconds), name, bars)
        return result

    def missed(self, result):
        """The missed bars of each contender that has some."""
        owners = {text: mine for text, mine, *_ in self.bars}
        missed = [bar for bar in result.bars if bar.met is False]
        return {name: [bar for bar in missed if owners[bar.text] == name] for name in self.contenders
                if any(owners[bar.text] == name for bar in missed)}

    def result(self, reports):
        # In a turn of a smoke test the server may use less than a tick of processor time: there is no rate then.
        reports = {name: [{"requestsPerServerSecond": report["requestsPerSecond"], **report} for report in ofone]
                   for name, ofone in reports.items()}
        figures = {name: Samples([report["requestsPerServerSecond"] for report in ofone])
                   for name, ofone in reports.items()}
        result = Result(self.title, ["server", "requests/s", "busy", "per CPU-s", "range", "us CPU each",
                                     f"{self.first} is", "p50 us", "p99 us"], notes=list(self.notes))
        for name, ofone in reports.items():
            figure = figures[name]
            median = sorted(ofone, key=lambda report: report["requestsPerServerSecond"])[len(ofone) // 2]
            ratio = "" if name == self.first else f"{figures[self.first].over(figure).median:.2f}x"
            result.rows.append([
                name, format_rate(median["requestsPerSecond"]),
                f"{100 * median['serverSeconds'] / median['seconds']:.0f} %", format_rate(figure.median),
                f"{format_rate(min(figure.values))}–{format_rate(max(figure.values))}",
                format_number(1e6 / figure.median), ratio,
                format_microseconds(median["latency"]["p50"]), format_microseconds(median["latency"]["p99"])])
        for text, mine, other, target in self.bars:
            if other in figures:
                result.bars.append(at_least(text, figures[mine].over(figures[other]), target))
                mark = figures.get(self.mark)
                if mark and other != self.mark and result.bars[-1].met is False:
                    result.notes.append(f"{text}: the null server, which does nothing but receive and send, comes to "
                                        f"{mark.over(figures[other]).median:.2f}x.")
        return result


def batched(size=1, **load):
    return Contender(servers.kvd, {"protocol": "binary", "batch": size, **load})


def binary(workload):
    """The binary protocol against HTTP, both of kvd."""
    what = workload.upper()
    return Throughput(
        f"binary-{workload}", f"Binary protocol, {what}, 16 under way, 1 M keys", Load(workload=workload, pipeline=16),
        {"binary, 16 a frame": batched(16), "binary, 1 a frame": batched(), "HTTP": kvd(),
         "binary, 128 under way": batched(64, pipeline=128), "HTTP, 128 under way": kvd(pipeline=128)},
        (against(f"binary {what}, P=16, to own HTTP", "HTTP", 1.5, mine="binary, 1 a frame"),
         against(f"binary {what}, P=16 in one frame, to own HTTP", "HTTP", 1.5, mine="binary, 16 a frame"),
         against(f"binary {what}, P=128 in frames of 64, to own HTTP, P=128", "HTTP, 128 under way", 1.5,
                 mine="binary, 128 under way")),
        ("The kernel's part of a request, which the null servers of the other cases show, is the same in both "
         "protocols: at P=16 it alone is more than half of what HTTP costs, and bounds how far a protocol can be "
         "ahead.",),
        first="binary, 16 a frame")


def against(title, other, target, mine="kvd"):
    return title, mine, other, target


GET_1 = Load(workload="get")
PUT_1 = Load(workload="put")
GET_16 = Load(workload="get", pipeline=16)
PUT_16 = Load(workload="put", pipeline=16)

CASES = [
    Throughput(
        "get-p1", "HTTP GET, one at a time, 1 M keys", GET_1,
        {"kvd": kvd(), **READ_NULLS, "kvd epoll": kvd("epoll"), "redis": REDIS, "nginx": NGINX},
        (against("GET, P=1, 1 M keys, to null on io_uring", "null io_uring", 0.95),
         against("GET, P=1, 1 M keys, to redis", "redis", 1.0))),
    Throughput(
        "put-p1", "HTTP PUT, one at a time, 1 M keys", PUT_1,
        {"kvd": kvd(), **WRITE_NULLS, "kvd epoll": kvd("epoll"), "redis": REDIS},
        (against("PUT, P=1, 1 M keys, to null on io_uring", "null io_uring", 0.95),
         against("PUT, P=1, 1 M keys, to redis", "redis", 1.0))),
    Throughput(
        "get-p16-small", "HTTP GET, 16 pipelined, 1 K keys", GET_16.but(keys=1000),
        {"kvd": kvd(), **READ_NULLS, "redis": REDIS, "nginx": NGINX},
        (against("GET, P=16, 1 K keys, to null on io_uring", "null io_uring", 0.90),
         against("GET, P=16, 1 K keys, to redis", "redis", 3.0))),
    Throughput(
        "get-p16", "HTTP GET, 16 pipelined, 1 M keys", GET_16,
        {"kvd": kvd(), **READ_NULLS, "kvd epoll": kvd("epoll"), "redis": REDIS},
        (against("GET, P=16, 1 M keys, to null on io_uring", "null io_uring", 0.75),
         against("GET, P=16, 1 M keys, to redis", "redis", 3.0))),
    Throughput(
        "put-p16", "HTTP PUT, 16 pipelined, 1 M keys", PUT_16,
        {"kvd": kvd(), **WRITE_NULLS, "redis": REDIS},
        (against("PUT, P=16, 1 M keys, to redis", "redis", 3.0),)),
    binary("get"),
    binary("put"),
]
