"""What a training is made of. `pipeline/trainer.py` puts the parts in order; TRL does the training itself.

    settings      what can be set, with its defaults and where they come from; knows neither torch nor TRL
    data          a pinned dataset, verified, as pairs in two splits
    words         word distributions of texts, how far apart they are, how a text repeats itself
    base          the model and tokenizer that a training starts from; chat templates
    tokens        pairs as the trainer reads them
    order         like lengths together
    scoring       log-probabilities of answers, and answers
    methods       settings -> TRL's trainer, for each method
    preflight     what must be right before the first step
    callbacks     progress, and a stop when the loss is lost
    checkpoints   which ones are whole
    measures      what is known of a model on the held-out rows, before and after
    contest       win rate of the trained model against its reference, by judges
    gates         what a trained model must reach before it is pushed
    outcome       a training's folder
    card, plots   the report
    push          adapter and merged model to the Hub
    tiny          a tiny model from nothing, for trying things out

torch, transformers, TRL, PEFT and matplotlib are imported inside the functions that need them: the rest of the
project works where they are not installed.
"""
