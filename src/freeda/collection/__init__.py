"""The offline stage: captions are drawn, their nouns located in the pictures, and a bank made of them."""
