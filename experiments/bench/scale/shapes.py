"""Sizes of Llama-shaped models, and the arithmetic and bytes that they stand for."""

from dataclasses import dataclass, replace

from transformers import LlamaConfig

CONTEXT = 256


@dataclass(frozen=True)
class Shape:
    """The size of a Llama with its own unembedding."""

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    n_key_value_heads: int
    d_mlp: int
    vocabulary: int

    def deep(self, n_layers: int) -> "Shape":
        """The same with another number of layers."""
        return replace(self, name=f"{self.name}-{n_layers}", n_layers=n_layers)

    def configuration(self, dtype: str) -> LlamaConfig:
        """The Hugging Face configuration, with attention that hooks can see."""
        made = LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.d_model,
            intermediate_size=self.d_mlp,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            num_key_value_heads=self.n_key_value_heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            architectures=["LlamaForCausalLM"],
            dtype=dtype,
        )
        made._attn_implementation = "eager"
        return made

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    @property
    def attention_weights(self) -> int:
        """Weights of queries, keys, values and output of one layer."""
        return 2 * self.d_model * self.d_head * (self.n_heads + self.n_key_value_heads)

    @property
    def mlp_weights(self) -> int:
        """Weights of gate, up and down of one layer."""
        return 3 * self.d_model * self.d_mlp

    @property
    def layer_weights(self) -> int:
        """Weights of one layer, with its two norms."""
        return self.attention_weights + self.mlp_weights + 2 * self.d_model

    @property
    def outside_weights(self) -> int:
        """Weights of embedding, final norm and unembedding."""
        return 2 * self.vocabulary * self.d_model + self.d_model

    @property
    def weights(self) -> int:
        """All weights."""
        return self.n_layers * self.layer_weights + self.outside_weights

    def layer_flop(self, keys: int) -> int:
        """Floating-point operations of one token through one layer (a multiply-add counts as two)."""
        return 2 * (self.attention_weights + self.mlp_weights) + 4 * keys * self.d_model

    @property
    def readout_flop(self) -> int:
        """Floating-point operations of one readout."""
        return 2 * self.d_model * self.vocabulary


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", 5, 64, 4, 2, 160, 1024),
        Shape("1b", 16, 2048, 32, 8, 8192, 128256),
        Shape("8b", 32, 4096, 32, 8, 14336, 128256),
        Shape("70b", 80, 8192, 64, 8, 28672, 128256),
    )
}
EVEN = Shape("even", 1, 1024, 16, 8, 3072, 1536)
