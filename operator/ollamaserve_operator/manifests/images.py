"""Which images a resource runs: the user's, this release's, or those its pods already run."""

from collections.abc import Mapping
from dataclasses import dataclass

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe

AMD = "amd.com/"


@dataclass(frozen=True, slots=True)
class Images:
    """The images that this release of the operator brings."""

    gate: str
    ollama: str
    ollama_rocm: str

    def chosen(self, serve: OllamaServe) -> "Chosen":
        amd = serve.gpu.count > 0 and serve.gpu.resource.startswith(AMD)
        return Chosen(self.gate, serve.image.ollama or (self.ollama_rocm if amd else self.ollama))


UNRESOLVED = Images(gate="gate", ollama="ollama", ollama_rocm="ollama-rocm")


@dataclass(frozen=True, slots=True)
class Chosen:
    gate: str
    ollama: str

    def annotations(self) -> dict[str, str]:
        return {names.GATE_IMAGE: self.gate, names.OLLAMA_IMAGE: self.ollama}

    def recorded(self, annotations: Mapping[str, str]) -> "Chosen":
        """What a Deployment noted down when its pods' template last changed."""
        return Chosen(
            annotations.get(names.GATE_IMAGE, self.gate),
            annotations.get(names.OLLAMA_IMAGE, self.ollama),
        )
