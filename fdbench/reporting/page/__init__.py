"""What the page shows beyond the chapters: images one by one, charts, pictures, provenance.

Plain data without markup, made from runs and tables; render/html_page.py lays it out.
"""
