"""Train a network, save it, and teach its trunk, frozen, another task with few examples.

python frozen_trunk.py
"""
# ruff: noqa: T201

import fnn
from fnn import Dense, Relu, frozen, named, serial

KEY = fnn.Key.of(0)
OPTIONS = {"batch_size": 50, "key": KEY, "progress": False}


def net(trunk, classes):
    return serial(trunk, named("head", Dense(classes)))


def program():
    train, test = fnn.digits("train"), fnn.digits("test")
    trunk = named("trunk", serial(Dense(64), fnn.BatchNorm(), Relu(), fnn.Dropout(0.2)))
    whole = net(trunk, 10)
    first = fnn.fit(whole, fnn.softmax_cross_entropy, fnn.adam(0.003), train, epochs=10, **OPTIONS).last
    print("all ten classes:", fnn.evaluate(whole, first, test, fnn.accuracy))
    fnn.save_model("ten.npz", whole, first.params, first.state, train.in_shape)

    # The weights come back with the network; the head for the new task begins anew.
    _, params, state, in_shape = fnn.load_model("ten.npz")
    odd = net(frozen(trunk), 2)
    _, fresh, _ = odd.init(KEY.fold("odd"), in_shape)
    few, judge = (fnn.Dataset(data.x, data.y % 2) for data in (train.take(100), test))
    optimizer = fnn.chain(fnn.clip_by_global_norm(1.0), fnn.adamw(0.01, weight_decay=0.01))
    fit = fnn.fit(
        odd,
        fnn.softmax_cross_entropy,
        optimizer,
        few,
        epochs=40,
        params={"trunk": params["trunk"], "head": fresh["head"]},
        state=state,
        **OPTIONS,
    )
    same = fit.last.params["trunk"] == params["trunk"] and fit.last.state == state
    print("odd or even, from 100 examples:", fnn.evaluate(odd, fit.last, judge, fnn.accuracy))
    print("the trunk is what it was:", same)


if __name__ == "__main__":
    program()
