"""kafka-python's network client, remembered: so that it can be closed, and so that a failure has its cause.

It owns the seam into that library (a version is pinned) and the words that tell an operator what to mend. It knows
nothing of alerts. Without it a wrong password reads "unable to bootstrap", as a broker that is away does.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from functools import cache
from pathlib import Path
from typing import Any

from kafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    RecordListTooLargeError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from dosimeter.monitor.sinks.config import is_unnamed

log = logging.getLogger(__name__)

INIT = "dosimeter kafka init"
HINTS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (SaslAuthenticationFailedError,),
        "check `sasl_plain_username` and `sasl_plain_password` under `security`",
    ),
    ((UnsupportedSaslMechanismError,), "the broker has another `sasl_mechanism`"),
    (
        (TopicAuthorizationFailedError,),
        "the principal needs the rights Write and Describe on the topic",
    ),
    (
        (MessageSizeTooLargeError, RecordListTooLargeError),
        "the topic's `max.message.bytes` is too small for it",
    ),
    ((ClusterAuthorizationFailedError,), "the principal needs rights on the cluster"),
    (
        (NotEnoughReplicasError, NotEnoughReplicasAfterAppendError),
        "fewer replicas are in sync than `min.insync.replicas`: bring brokers back",
    ),
    (
        (UnknownTopicOrPartitionError, KafkaTimeoutError),
        f"if the topic does not exist: `{INIT}`",
    ),
    (
        (KafkaConnectionError,),
        "a broker hangs up on a wrong login, and on a client without its TLS: check `security`",
    ),
)
"""What an operator can do, by the kind of error."""

LOST = (KafkaConnectionError(), KafkaConnectionError("socket disconnected"))

TLS = "compare the broker's certificate and `ssl_cafile`; a listener without TLS has another port"


FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")
"""A connection that cannot read one of them fails without a word."""


def explained(error: BaseException, topic: str = "") -> str:
    """What it says, and what can be done. topic: where it is not that of alerts."""
    said = str(error) or type(error).__name__
    if "ssl" in said.lower():
        return f"{said}; hint: {TLS}"
    hint = next((hint for kinds, hint in HINTS if isinstance(error, kinds)), None)
    if hint and topic:
        hint = hint.replace(INIT, f"{INIT} --topic {topic}")
    return f"{said}; hint: {hint}" if hint else said


class ClientRecorder:
    """Builds the network client of one producer, consumer or admin: pass it as `kafka_client`.

    Where their constructor raises it leaves sockets (and a thread) behind with nothing to close them by, and says
    only that time is up; this has what is to be closed, and `cause`: why the latest connection that never was
    ready was refused or lost.
    """

    def __init__(self) -> None:
        self._built: list[Any] = []
        self.cause: KafkaError | None = None

    def __call__(self, **configs: Any) -> Any:
        """Raises OSError, of a file that cannot be read."""
        if is_unnamed(configs):
            _warn_unnamed(",".join(configs["bootstrap_servers"]))
        for name in FILES:
            if configs.get(name):
                Path(configs[name]).open("rb").close()
        net = NetworkSelector(**configs)
        client = KafkaNetClient(net, _Manager(self._remember, net, **configs), **configs)
        self._built.append(client)
        return client

    def _remember(self, error: BaseException) -> None:
        """What a broker says outlives its hanging up, which it also does before the answer to a wrong login is read,
        and that outlives its being late, as the last try always is."""
        if isinstance(error, KafkaError) and (
            self.cause is None or _told(error) >= _told(self.cause)
        ):
            self.cause = error

    def close(self) -> None:
        while self._built:
            with contextlib.suppress(Exception):
                self._built.pop().close()
        gc.collect()  # sockets of refused connections hang in reference cycles, still open


def keep_joining(consumer: Any) -> None:
    """After each `poll` of a member of a group.

    kafka-python 3.0.12 forgets a join that `poll` had no time left to wait for, when changed metadata was its reason:
    no later poll asks for the answer, its heartbeat stays off, and its partitions are read by nobody.
    """
    coordinator = consumer._coordinator
    if coordinator.rejoining and not coordinator.need_rejoin():
        coordinator.request_rejoin()  # the next poll waits for the join under way


def known_partitions(consumer: Any, topic: str) -> int:
    """How many there are, as the brokers said last; 0: they have not yet. The library's own question waits for them."""
    return len(consumer._cluster.partitions_for_topic(topic) or ())


@cache
def _warn_unnamed(brokers: str) -> None:
    """Once: a client is built anew after each failure."""
    log.warning(
        "kafka at `%s`: `ssl_check_hostname: false`: any certificate of the authority passes for a broker's",
        brokers,
    )


def _told(error: KafkaError) -> int:
    if isinstance(error, (RequestTimedOutError, KafkaTimeoutError)):
        return 0
    return 1 if error in LOST else 2


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """Says how connections fail that never were ready."""

    def __init__(self, failed: Any, net: Any, **configs: Any) -> None:
        super().__init__(net, **configs)
        self._failed = failed

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        found = super().get_connection(*args, **kwargs)
        if not found.init_future.is_done:
            found.init_future.add_errback(self._failed)
        return found
