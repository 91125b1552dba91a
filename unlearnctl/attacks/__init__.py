"""Attack an unlearned model: is what it forgot gone, or only hidden?"""
