"""What the live demo shows, several times a second: one screen made of the sidecar's own status and of
alerts as consumed from the topic.

It draws and asks; it starts nothing. Text that comes from a model or a client is escaped first.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dosimeter.detectors.findings import visible
from dosimeter.monitor.lab.clients import Exchanged, Traffic, endless
from dosimeter.monitor.lab.demo import (
    CLIENTS,
    PER_S,
    Cast,
    Consumer,
    expected_of,
)
from dosimeter.monitor.lab.interrupting import clearing_up
from dosimeter.monitor.lab.stage import Stage

REFRESH_S = 0.5
SHOWN = 10
COLOUR = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}


def watch(cast: Cast, console: Console) -> None:
    """Traffic without end, and the screen, until KeyboardInterrupt; the last screen stays."""
    with cast.stage(lambda line: console.print(f"[dim]{escape(line)}[/dim]")) as stage:
        consumer = Consumer(stage.broker.bootstrap)
        batches = (cast.conversations(seed) for seed in itertools.count())
        sent = Traffic(stage.url, str(cast.model), endless(batches), CLIENTS, PER_S).start()
        rate = Rate()
        try:
            with Live(console=console, auto_refresh=False, transient=True) as live:
                while True:
                    status = stage.status()
                    live.update(screen(stage, status, consumer, sent.done, rate), refresh=True)
                    time.sleep(REFRESH_S)
        except KeyboardInterrupt:
            clearing_up.set()
            console.print(screen(stage, stage.status(), consumer, sent.done, rate))
        finally:
            sent.stop()
            consumer.stop()


class Rate:
    """Tokens a second over the last few looks."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def of(self, tokens: int) -> float:
        self._seen = [*self._seen[-10:], (time.monotonic(), tokens)]
        (first, low), (last, high) = self._seen[0], self._seen[-1]
        return (high - low) / (last - first) if last > first else 0.0


def screen(
    stage: Stage,
    status: dict[str, Any] | None,
    consumer: Consumer,
    done: Sequence[Exchanged],
    rate: Rate,
) -> Group:
    """One frame. status None: the sidecar does not answer, which is said and not hidden."""
    if status is None:
        return Group(Panel("[bold red]the sidecar does not answer[/] (the server serves on)"))
    alerts = list(consumer.alerts)
    return Group(
        Panel(seeing(status, rate), title="what it sees, and what it does not", title_align="left"),
        Panel(features(alerts, done), title="features", title_align="left"),
        Panel(latest(alerts), title="alerts, as consumed from Kafka", title_align="left"),
        Text.from_markup(footer(stage, status, consumer)),
    )


def seeing(status: dict[str, Any], rate: Rate) -> Table:
    coverage, latency = status["coverage"], status["latency"]
    table = Table.grid(padding=(0, 2))
    taps = [
        f"{tap['state']}{': ' + tap['reason'] if tap['reason'] else ''}" for tap in status["taps"]
    ]
    table.add_row("tap", escape(visible("; ".join(taps) or "none has connected")))
    table.add_row(
        "tokens",
        f"{coverage['served']:,} served · {coverage['scored']:,} scored"
        f" ({coverage['reused']:,} reused) · {rate.of(coverage['served']):,.0f}/s",
    )
    gaps = " · ".join(f"{n:,} {reason}" for reason, n in coverage["unscored"].items()) or "none"
    table.add_row("unscored", gaps)
    style = "green" if coverage["unaccounted"] == 0 else "bold red"
    table.add_row(
        "unaccounted", f"[{style}]{coverage['unaccounted']:,}[/] (against the server's own count)"
    )
    share = coverage["coverage"]
    table.add_row(
        "coverage", "nothing served yet" if share is None else f"{share:.2%} of what was served"
    )
    decision, durable = latency["hook_to_decision"], latency["decision_to_durable"]
    table.add_row(
        "latency",
        f"hook to decision p50 {ms(decision['p50_ms'])} p99 {ms(decision['p99_ms'])}"
        f" · decision to durable p99 {ms(durable['p99_ms'])}",
    )
    return table


def ms(value: float | None) -> str:
    return "none yet" if value is None else f"{value:.2f} ms"


def features(alerts: Sequence[dict[str, Any]], done: Sequence[Exchanged]) -> Table:
    """Alerts by feature beside what the conversations sent so far had to raise."""
    fired = Counter(alert["feature"] for alert in alerts)
    expected = Counter(feature for _, feature in expected_of(done))
    table = Table.grid(padding=(0, 3))
    table.add_row("[dim]feature[/]", "[dim]alerts[/]", "[dim]conversations that misbehaved[/]")
    for name in sorted(fired.keys() | expected.keys()):
        table.add_row(escape(name), str(fired[name]), str(expected[name]))
    return table


def latest(alerts: Sequence[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for alert in list(alerts)[-SHOWN:]:
        table.add_row(
            time.strftime("%H:%M:%S", time.localtime(alert["time_ns"] / 1e9)),
            f"[{COLOUR.get(alert['severity'], 'white')}]{alert['severity']}[/]",
            escape(alert["rule"]),
            escape(visible(alert["labels"].get("conversation", alert["key"]))),
            escape(visible(alert["summary"])),
            f"[dim]{alert['event_id'][:12]}[/]",
        )
    if not alerts:
        table.add_row("[dim]none yet[/]")
    return table


def footer(stage: Stage, status: dict[str, Any], consumer: Consumer) -> str:
    """Sinks, rules, and what to try next."""
    lines = []
    for name, sink in status["delivery"]["sinks"].items():
        lines.append(
            f"{name}: accepted {sink['accepted']} = delivered {sink['delivered']} + dead {sink['dead']}"
            f" + withheld {sink['withheld']} + queued {sink['queued']}"
        )
    lines.append(
        f"read back from Kafka {consumer.total} · from OTLP {len(stage.viewer.event_ids())}"
    )
    if stage.pages:
        lines.append(f"[bold]pages:[/] {escape(stage.pages)} (the link works once)")
    error = status["rules"]["error"]
    if error:
        lines.append(
            f"[red]rules: {escape(visible(str(error)))}[/] (the last good rules stay in force)"
        )
    for rule, reason in status["rules"]["inactive"].items():
        lines.append(f"[yellow]{escape(rule)} may not alert: {escape(visible(reason))}[/]")
    lines.append(
        f"[dim]dosimeter alerts list --data-dir {escape(str(stage.folder))} · edit rules/packs/lab.yaml"
        " and watch · Ctrl-C ends it[/]"
    )
    return "\n".join(lines)
