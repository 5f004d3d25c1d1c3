"""Train on the wines that scikit-learn includes: `python train.py`, a second.

178 wines from three growers of one region in Italy, with laboratory measurements. A quarter is held
back, measures how good the model is, and is written to `unseen.csv` for requests.
"""

from __future__ import annotations

from pathlib import Path

import joblib
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parent
# One column's name is no Python identifier, which the field of a record must be.
RENAMED = {"od280/od315_of_diluted_wines": "dilution"}


def main() -> None:
    wines, growers = load_wine(return_X_y=True, as_frame=True)
    wines = wines.rename(columns=RENAMED)
    seen, unseen, grower_of_seen, grower_of_unseen = train_test_split(
        wines,
        (growers + 1).map("grower {}".format),
        test_size=0.25,
        random_state=7,
        stratify=growers,
    )
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(seen, grower_of_seen)
    save(model, unseen)
    right = model.score(unseen, grower_of_unseen)
    print(
        f"wine.joblib: {right:.1%} of {len(unseen)} held-back wines right; they are in unseen.csv."
    )


def save(model: object, unseen: pd.DataFrame) -> None:
    """Write beside, then rename: a server that starts meanwhile never reads half a file."""
    unfinished = HERE / "wine.part"
    joblib.dump(model, unfinished)
    unfinished.replace(HERE / "wine.joblib")
    unseen.to_csv(HERE / "unseen.csv", index=False)


if __name__ == "__main__":
    main()
