"""One replica on simlora's own engine: the wall-clock driver, with clients for its traffic."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from simlora.live.adapter_files import AdapterFiles
from simlora.live.adapter_store import open_store
from simlora.live.driver import Driver
from simlora.live.mirror import Mirror, Sequence
from simlora.live.opening import open_engine
from simlora.live.registered import look_up
from simlora.live.server import Server
from simlora.live.tokens import GivenTokens
from simlora.registry.store import Registry
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import Deployment
from simlora.serve.answer import Answer
from simlora.serve.bodies import Asked
from simlora.serve.ends import Speech, eos_tokens
from simlora.serve.problems import invalid
from simlora.serve.replica import Watcher
from simlora.serve.text import Wordwise
from simlora.serve.tokenizer import TOKENIZER, open_text
from simlora.serve.words import PrefixChain
from simlora.serving.page_pool import KV
from simlora.serving.request import WAITING, Request

if TYPE_CHECKING:
    from simlora.live.embedded import Sampling

_LOG_STEPS = 10_000  # after which the scheduler's notes of them, that nobody reads, are thrown away


@dataclass(slots=True)
class _Spoken:
    """A request on its way: its answer, the text of it, and the hashes of what it computes."""

    answer: Answer
    speech: Speech
    chain: PrefixChain | None


class EmbeddedReplica:
    """Gateway, scheduler and memory over the real engine: every token that a client gets was
    computed, and takes as long as that.

    `device` is "cuda" or "cpu" (default: the GPU if there is one). Adapters are those of the folder
    `registry`, checked against the keys in `trusted` (default: its own), or random ones, which take
    as long to come as the scenario's store does. `note` is told in a sentence what is not as one
    might expect. `check`: device and scheduler are compared at every step boundary.

    Raises UserError, without torch too, for what cannot be served.
    """

    def __init__(
        self,
        deployment: Deployment,
        watcher: Watcher,
        *,
        device: str | None = None,
        registry: Path | None = None,
        trusted: Path | None = None,
        note: Callable[[str], None] = lambda _: None,
        check: bool = False,
    ) -> None:
        self.deployment = deployment
        self.answers: dict[int, Answer] = {}  # of requests that have not ended
        self.received = 0
        self.lost_s = 0.0  # time is the real one
        self._block_tokens = deployment.scenario.engine.kv_block_tokens
        self._log = StepLog(len(deployment.tiers))
        self._ended: list[Request] = []
        self.server = Server(deployment, self._block_tokens, self._log, self._ended)
        self.server.stopped_retries = True  # the clients are real, and ask again by themselves
        served = deployment.served_by(0)
        indexes = [adapter.index for adapter in served]
        if registry is not None:  # before the model is loaded, which may take a while
            look_up(deployment, Registry.open(registry, trusted=trusted), indexes)
        self.engine = open_engine(deployment, self.server.plan, device)
        self._text = open_text(self.engine.folder, self.engine.shape.vocab_size)
        self._eos = eos_tokens(self.engine.folder)
        self._spoken: dict[int, _Spoken] = {}
        self._watcher = watcher
        self._note = note
        self._tokens = GivenTokens()
        memory = self.server.scheduler.memory
        self.mirror = Mirror(self.engine.pool, memory, self._tokens, self.server.plan.block_tokens)
        self.server.watch(self.mirror)
        self._folder = TemporaryDirectory(prefix="simlora-", ignore_cleanup_errors=True)
        self.directory = directory = Path(self._folder.name)  # of adapters' files, during the run
        store = open_store(deployment, self.engine, directory, registry=registry, trusted=trusted)
        self._files = AdapterFiles(deployment, self.engine, directory, store)
        self._files.make(indexes, self.server)
        self._tell_what_it_is()
        self.engine.warm_up(served[0] if served else None)
        self._driver = Driver(
            self.server,
            self.mirror,
            self.engine,
            self._files,
            None,
            lambda _: None,
            check=check,
            listener=self,
            distant_store=registry is None,
        )

    def _tell_what_it_is(self) -> None:
        folder = self.engine.folder
        if not self.engine.trained:
            where = "comes from the catalog" if folder is None else f"has no weights in {folder}"
            self._note(f"the model {where}: its weights are random")
        if isinstance(self._text, Wordwise):
            self._note(
                f"the model has no {TOKENIZER}: prompts are taken word by word, and answers are "
                "told as one word for each token id"
            )

    @property
    def longest(self) -> int:
        """The most tokens that prompt and answer may have together."""
        return self.server.plan.max_model_len

    @property
    def waiting(self) -> int:
        """Requests that have come and are not in the batch."""
        return sum(given.request.status == WAITING for given in self.answers.values())

    async def run(self) -> None:
        """Serve until `stop` is called and what has come is over."""
        try:
            await self._driver.run()
        finally:
            self._folder.cleanup()

    def stop(self) -> None:
        """No more will be asked."""
        self._driver.ask()

    def check(self) -> None:
        """Between two steps: raises AssertionError unless device and scheduler agree about all
        memory, and nobody has any who has left."""
        self.mirror.check()
        if self.server.over:
            assert not self.mirror.sequences, self.mirror.sequences.keys()
            assert self.server.scheduler.memory.pool.held[KV] == 0
            assert not (self.answers or self._spoken or self.mirror.scripts)

    # --- clients ------------------------------------------------------------------------

    def encode(self, asked: Asked) -> list[int]:
        """The tokens of what is asked. Raises Problem (400) for what the engine cannot do."""
        if asked.changing is not None:
            raise invalid(f"{asked.changing}: is not supported; leave it out", "not_supported")
        if asked.messages is not None:
            prompt = self._text.chat(asked.messages, self.longest)
        elif isinstance(asked.prompt, str):
            prompt = self._text.prompt(asked.prompt, self.longest)
        else:
            prompt = asked.prompt
        vocabulary = self.engine.shape.vocab_size
        strange = next((token for token in prompt if not 0 <= token < vocabulary), None)
        if strange is not None:
            raise invalid(
                f"prompt: token id {strange} is not in the model's vocabulary of {vocabulary}"
            )
        return prompt

    def ask(self, tenant: int, adapter: int, prompt: list[int], most: int, asked: Asked) -> Answer:
        """A request comes now, for `most` tokens at most."""
        number, self.received = self.received, self.received + 1
        chain = None
        if self.server.scheduler.memory.prefix is not None:
            chain = PrefixChain(self._block_tokens)
            chain.add(prompt)
        request = Request(
            number,
            self._driver.now(),
            tenant,
            self.deployment.tenants[tenant].tier,
            adapter,
            len(prompt),
            most,
            prefix_hashes=None if chain is None else chain.hashes,
        )
        given = self.answers[number] = Answer(request)
        eos = frozenset[int]() if asked.whole else self._eos
        speech = Speech(self._text.decoder(), eos, asked.stops)
        self._spoken[number] = _Spoken(given, speech, chain)
        self._tokens.give(request, prompt, _sampling(asked))
        self._driver.receive(request)
        return given

    def give_up(self, given: Answer, reason: str) -> None:
        """Nobody waits for an answer any more; its memory is free at the next step boundary."""
        if not given.over:
            given.request.reason = reason
            given.end()
            self._driver.give_up(given.request, reason)

    # --- what the driver tells ----------------------------------------------------------

    def said(self, sequences: list[Sequence], now: float) -> list[Request]:
        """Clients get what the step has made. Returns the requests whose answers end there."""
        over = []
        for sequence in sequences:
            request, said = sequence.request, sequence.script.said
            spoken = self._spoken[request.index]
            if spoken.chain is not None:
                # A later turn of a chat has the answer in its prompt.
                spoken.chain.add(said[-1:])
            given, speech = spoken.answer, spoken.speech
            if given.over:  # its client has gone
                continue
            given.pieces.append(speech.add(said[-1], last=len(said) == request.output_tokens))
            if speech.reason is not None:
                given.reason = speech.reason
                over.append(request)
            self._watcher.token(request, now - given.last_s if given.emitted else None, now)
            given.grow(len(said), now)
        return over

    def happened(self) -> None:
        """Tell clients whose requests have ended; nothing is kept of what is over."""
        self.server.decisions.lines.clear()
        if len(self._log.step_s) > _LOG_STEPS:
            self._log.drain()
        ended, self._ended[:] = list(self._ended), []
        for request in ended:
            self._watcher.ended(request)
            self.answers.pop(request.index).end()
            del self._spoken[request.index]
            self._tokens.forget(request)
            self.mirror.scripts.pop(request.index, None)


def _sampling(asked: Asked) -> Sampling | None:
    """How the tokens of an answer are chosen; None for the likeliest."""
    from simlora.live.embedded import Sampling

    if asked.temperature == 0:
        return None
    seed = secrets.randbits(64) if asked.seed is None else asked.seed % 2**64
    return Sampling(asked.temperature, asked.top_p, asked.top_k, seed)
