def main(wav, folder): return 0
