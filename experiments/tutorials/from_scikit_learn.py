# %% [markdown]
# # From scikit-learn and back
#
# An estimator is a network that stands wherever scikit-learn expects one: in pipelines, grids and
# cross-validation. Underneath is the same `fit`, so that the network can be taken out, trained on,
# proved, and put back. Needs `pip install "fnn[sklearn]"`.

# %%
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fnn
from fnn.interop.sklearn import FnnClassifier

images, labels = load_digits(return_X_y=True)
names = np.array("zero one two three four five six seven eight nine".split())[labels]
x_train, x_test, y_train, y_test = train_test_split(images, names, random_state=0, stratify=names)

# %% [markdown]
# Hidden layers by their widths; labels may be anything. Beside it a linear model.

# %%
linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x_train, y_train)
ours = make_pipeline(StandardScaler(), FnnClassifier((64,), epochs=20, random_state=0))
ours.fit(x_train, y_train)
print(f"linear {linear.score(x_test, y_test):.3f}, network {ours.score(x_test, y_test):.3f}")
print(ours.predict(x_test[:3]), ours.predict_proba(x_test[:3]).max(axis=1).round(3))

# %% [markdown]
# A grid over the learning rate and the width.

# %%
grid = GridSearchCV(
    FnnClassifier((16,), epochs=8, random_state=0),
    {"learning_rate": [0.001, 0.01], "net": [(16,), (64,)]},
    cv=2,
).fit(x_train, y_train)
print(grid.best_params_, f"{grid.best_score_:.3f}")

# %% [markdown]
# Any network: images go in as images, and it ends in as many scores as there are classes.

# %%
pictures = (images / 16).reshape(-1, 1, 8, 8)
net = fnn.serial(fnn.Conv(8, 3), fnn.Relu(), fnn.MaxPool(2), fnn.Flatten(), fnn.Dense(10))
convolutional = FnnClassifier(net, learning_rate=0.01, scale=None, epochs=10, random_state=0)
print(cross_val_score(convolutional, pictures, names, cv=2).round(3))

# %% [markdown]
# And back: what was fitted is a network with its weights, a value like any other.

# %%
convolutional.fit(pictures[:1200], names[:1200])
net, now, few = convolutional.net_, convolutional.state_, pictures[1200:1210].astype("float32")
scores = fnn.predict(net, now, few)
assert (convolutional.classes_[scores.argmax(axis=1)] == convolutional.predict(few)).all()
print(repr(net), fnn.tree.digest(now.params)[:16])
