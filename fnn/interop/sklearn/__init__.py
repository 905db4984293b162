"""Networks as scikit-learn estimators: in pipelines, grids, cross-validation, and wherever one fits.

    from fnn.interop.sklearn import FnnClassifier

    FnnClassifier((32,), random_state=0).fit(X, y).score(X, y)

Needs scikit-learn 1.6 or newer: `pip install "fnn[sklearn]"`.
"""

from fnn.interop.rules import needed

needed("sklearn", "sklearn")  # Before what imports it, for the message.

from fnn.interop.sklearn.classifier import FnnClassifier  # noqa: E402
from fnn.interop.sklearn.regressor import FnnRegressor  # noqa: E402

__all__ = ["FnnClassifier", "FnnRegressor"]
