"""Labels of people: which pairs to ask for, what the answers say of a model, which to doubt."""
