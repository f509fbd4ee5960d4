"""Zhang's project (6.860, 2021): what is harder to learn, locality or the sharing of weights?"""
