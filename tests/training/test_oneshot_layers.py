"""One-shot pruning of whole networks: on trained ones, with batch normalization folded or not, nested and shared."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits

from edge.errors import EdgeError, OutputError
from edge.models.transfer import unit_variance
from edge.training.oneshot.layer_program import detach, trace_model
from edge.training.oneshot.layerwise import prune_layers
from edge.training.oneshot.lockstep import SpillStore
from edge.training.oneshot.prune_request import OneshotOptions
from edge.training.pruning_layers import layer_targets, pointwise_layers
from edge.training.pruning_plan import Pruning

MAGNITUDE = OneshotOptions(method="magnitude")
UNTOUCHED = OneshotOptions(method="magnitude", restore=False)


def pictures(first=0, last=None):
    return (load_digits().images[first:last, ..., None] / 16).astype(np.float32)


def block(x, name):
    y = layers.Conv2D(32, 1, use_bias=False, name=f"{name}_expand")(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(y))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(y))
    y = layers.Conv2D(16, 1, use_bias=False, name=f"{name}_project")(y)
    return layers.Add()([x, layers.BatchNormalization(momentum=0.8)(y)])


@pytest.fixture(scope="module")
def trained():
    """The weights of a small network that knows digits."""
    model = network()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    digits = load_digits()
    model.fit(pictures(0, 1000), digits.target[:1000], epochs=5, batch_size=50, verbose=0)
    return model.get_weights()


def network(weights=None):
    keras.utils.set_random_seed(0)
    inputs = layers.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = block(block(x, "first"), "second")
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax", name="classifier")(x))
    if weights is not None:
        model.set_weights(weights)
    return model


def pruned(model, sparsity, size, options=None, *, x=None, overrides=()):
    """Prune in place; return the outcome and the program of the dense network."""
    program = trace_model(model)
    dense = detach(program)
    x = pictures(0, 200) if x is None else x
    targets = layer_targets(Pruning(sparsity=sparsity, block=str(size), overrides=overrides), pointwise_layers(model))
    batches = [x[start : start + 64] for start in range(0, len(x), 64)]
    return prune_layers(dense, program, targets, lambda: batches, options=options or OneshotOptions()), dense


def answers(program, x):
    return program.run({program.inputs[0]: x}, 0, len(program.steps))[program.outputs[0]]


@pytest.mark.parametrize("size", [1, 2])
def test_a_corrected_network_answers_as_the_dense_one_where_the_uncorrected_does_not(trained, size):
    unseen, target = pictures(1000), load_digits().target[1000:]
    same, right = {}, {}
    for options in (OneshotOptions(), MAGNITUDE, UNTOUCHED):
        model = network(trained)
        _, dense = pruned(model, 0.7, size, options)
        wanted, got = answers(dense, unseen).argmax(axis=1), model(unseen).numpy().argmax(axis=1)
        same[options], right[options] = (wanted == got).mean(), (got == target).mean()
    assert (wanted == target).mean() > 0.85, "the dense network knows digits"
    assert same[OneshotOptions()] > same[MAGNITUDE] + 0.03
    assert same[MAGNITUDE] > same[UNTOUCHED]
    assert right[OneshotOptions()] > right[MAGNITUDE]


def test_zeros_are_exact_errors_fall_and_all_else_stays(trained):
    model = network(trained)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    outcome, dense = pruned(model, 0.6, 4, overrides=("first_project=0.25b2", "second_expand=0"))
    assert [each.name for each in outcome] == ["first_expand", "first_project", "second_project"]
    for each, share, size in zip(outcome, (0.6, 0.25, 0.6), (4, 2, 4), strict=True):
        kernel = np.asarray(model.get_layer(each.name).kernel)[0, 0]
        assert abs((kernel == 0).sum() - share * kernel.size) <= size / 2
        alike = (kernel == 0).reshape(len(kernel), -1, size)
        assert (alike == alike[..., :1]).all(), "blocks are whole or gone"
        assert each.error_after < each.error_before
    for name in ("stem", "first_depthwise", "second_depthwise", "second_expand", "classifier"):
        for now, then in zip(model.get_layer(name).get_weights(), before[name], strict=True):
            assert (now == then).all()
    expected = network(trained)(pictures(0, 9)).numpy()
    assert answers(dense, pictures(0, 9)) == pytest.approx(expected, abs=1e-6), "the dense one was left alone"


def test_folded_batch_normalization_gives_the_same_network(trained):
    plain, folded = network(trained), network(trained)
    for call in trace_model(folded).steps:
        if type(call.layer).__name__ == "BatchNormalization":
            conv = next(s.layer for s in trace_model(folded).steps if s.makes[0] in call.reads)
            gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in call.layer.get_weights())
            scale = gamma / np.sqrt(variance + call.layer.epsilon)
            along = scale[:, None] if "depthwise" in conv.name else scale
            conv.kernel.assign(np.asarray(conv.kernel) * along)
            one = np.full(len(scale), unit_variance(call.layer.epsilon))
            call.layer.set_weights([np.ones(len(scale)), beta - mean * scale, np.zeros(len(scale)), one])
    x = pictures(1000, 1100)
    assert folded(x).numpy() == pytest.approx(plain(x).numpy(), abs=1e-4)
    for model in (plain, folded):
        pruned(model, 0.6, 2)
    assert folded(x).numpy() == pytest.approx(plain(x).numpy(), abs=1e-2)


def test_a_bias_makes_up_for_the_mean_where_there_is_no_normalization():
    keras.utils.set_random_seed(1)
    inputs = layers.Input((8, 8, 1))
    x = layers.Conv2D(12, 3, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Conv2D(6, 1, name="wanted")(x))
    for options in (OneshotOptions(), MAGNITUDE):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        pruned(copy, 0.5, 1, options)
        means = [each(pictures(0, 200)).numpy().mean(axis=(0, 1, 2)) for each in (model, copy)]
        assert means[1] == pytest.approx(means[0], abs=1e-4)


def test_nested_models_shared_layers_operators_and_fixed_training_are_run_as_keras_does():
    keras.utils.set_random_seed(2)
    inner_in = layers.Input((6, 6, 8))
    shared = layers.Conv2D(8, 1, name="shared")
    inner = keras.Model(inner_in, layers.BatchNormalization()(shared(layers.ReLU()(shared(inner_in)))), name="inner")
    inputs = layers.Input((8, 8, 1))
    x = layers.Conv2D(8, 3)(inputs)
    y = inner(x, training=False)
    z = layers.Dropout(0.5)(keras.ops.relu(y * 2.0 + x), training=True)
    a, b = keras.ops.split(layers.Conv2D(4, 1, name="last")(inner(z)), 2, axis=-1)
    model = keras.Sequential([layers.Input((8, 8, 1)), keras.Model(inputs, layers.Subtract()([a, b]))])
    program, some = trace_model(model), pictures(0, 5)
    before = model(some, training=False).numpy()
    assert answers(program, some) == pytest.approx(before, abs=1e-5)
    outcome, dense = pruned(model, 0.5, 2)
    assert [each.name for each in outcome] == ["shared", "last"], "a layer of several calls comes first"
    assert (np.asarray(shared.kernel) == 0).sum() == 32
    assert answers(dense, some) == pytest.approx(before, abs=1e-5)
    assert np.abs(model(some, training=False).numpy() - before).max() > 1e-3


def test_layers_of_one_name_in_two_nested_models_are_all_pruned():
    keras.utils.set_random_seed(4)

    def tower():
        inputs = layers.Input((6, 6, 8))
        return keras.Model(inputs, layers.Conv2D(8, 1, name="same")(inputs))

    inputs, towers = layers.Input((8, 8, 1)), (tower(), tower())
    x = layers.Conv2D(8, 3)(inputs)
    model = keras.Model(inputs, layers.Add()([each(x) for each in towers]))
    outcome, _ = pruned(model, 0.5, 2)
    assert len(outcome) == 2
    assert [int((np.asarray(each.get_layer("same").kernel) == 0).sum()) for each in towers] == [32, 32]


def test_dead_channels_and_one_image(trained):
    model = network(trained)
    kernel = np.asarray(model.get_layer("stem").kernel).copy()
    kernel[..., :6] = 0
    model.get_layer("stem").kernel.assign(kernel)
    for layer in model.layers[2:3]:
        layer.set_weights([np.ones(16), np.zeros(16), np.zeros(16), np.ones(16)])
    pruned(model, 0.8, 4, x=pictures(0, 1))
    assert np.isfinite(model(pictures(0, 50)).numpy()).all()


def test_an_overflow_is_reported_with_its_layer(trained):
    model = network(trained)
    model.get_layer("stem").kernel.assign(np.full((3, 3, 1, 16), 3e38, np.float32))
    with pytest.raises(EdgeError, match=r"the inputs of the layer 'first_expand' are not finite"):
        pruned(model, 0.5, 1)


def test_values_are_stored_in_files_when_memory_is_short(tmp_path):
    values = {3: np.arange(6.0).reshape(2, 3), 17: np.ones(4, np.float32)}
    with SpillStore(memory_bytes=100, folder=tmp_path) as store:
        for name in ("held", "stored"):
            store.put(name, dict(values))
        assert len(list(tmp_path.glob("edge-prune-*/*.npz"))) == 1
        for name in ("stored", "held"):
            taken = store.take(name)
            assert taken.keys() == values.keys()
            assert all((taken[key] == values[key]).all() for key in values)
        store.put("stored", {1: np.zeros(1000)})
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_temporary_folder_that_cannot_be_written_is_an_error_with_a_hint(tmp_path):
    with SpillStore(memory_bytes=0, folder=tmp_path / "missing") as store:
        with pytest.raises(OutputError, match=r"could not be stored in .*missing: No such file") as caught:
            store.put("x", {1: np.zeros(1)})
        assert "--limit" in str(caught.value.hint)
