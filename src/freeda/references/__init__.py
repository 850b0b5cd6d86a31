"""References from annotated pictures: found, selected, extracted, and added to a bank (`add.add_images`)."""
