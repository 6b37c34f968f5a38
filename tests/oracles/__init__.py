"""Plain second opinions: what the rulings say, in the most naive code there is. They import nothing of openusher."""
