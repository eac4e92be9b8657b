"""Whether the tensors of a dictionary have shapes that go together."""

from collections.abc import Sequence

from silverstain.bases.storage import TensorSource
from silverstain.errors import UsageError
from silverstain.printable import printable


def checked_sizes(source: TensorSource, n_layers: int, k: Sequence[int] | None, name: str) -> tuple[int, int]:
    """(n_features, d_model); UsageError unless every tensor has the shape these give it."""
    name, encoder = printable(name, 200), source.shape(("W_enc", 0))
    if encoder is None or len(encoder) != 2:
        raise UsageError(f"the dictionary {name}: W_enc of layer 0 has shape {encoder}, [features, d_model] needed")
    n_features, d_model = encoder
    if not n_features or not d_model:
        raise UsageError(f"the dictionary {name}: W_enc of layer 0 has shape {list(encoder)}; it holds nothing")
    if k is not None and (len(k) != n_layers or not all(0 < one <= n_features for one in k)):
        raise UsageError(f"the dictionary {name}: k is {list(k)!s:.80}, {n_layers} numbers in 1 … {n_features} needed")
    has_threshold = source.shape(("threshold", 0)) is not None
    is_cross_layer = len(source.shape(("W_dec", 0)) or ()) == 3
    for layer in range(n_layers):
        reached = (source.shape(("W_dec", layer)) or ())[1:2]  # layers written to: fewer than all above will do
        is_reach = is_cross_layer and reached and reached[0] in range(1, n_layers - layer + 1)
        n_targets = reached if is_reach else (n_layers - layer,) if is_cross_layer else ()
        wanted: dict[str, tuple[tuple[int, ...] | None, ...]] = {
            "W_enc": ((n_features, d_model),),
            "b_enc": ((n_features,),),
            "W_dec": ((n_features, *n_targets, d_model),),
            "b_dec": ((d_model,),),
            "threshold": ((n_features,), ()) if has_threshold else (None,),
            "W_skip": (None, (d_model, d_model)),
        }
        for key, shapes in wanted.items():
            seen = source.shape((key, layer))
            if seen not in shapes:
                raise UsageError(
                    f"the dictionary {name}: {key} of layer {layer} has shape {seen}, {shapes[0]} needed; "
                    f"all layers must have the same sizes and kind"
                )
    return n_features, d_model
